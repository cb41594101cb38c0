"""What runs tools: the catalog, the files that declare them, their processes and environments."""
