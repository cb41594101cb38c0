"""`portico tools`: list, run and create tools."""
