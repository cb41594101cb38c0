"""Tools: catalog, parameters and where they come from."""
