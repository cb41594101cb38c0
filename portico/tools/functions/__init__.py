"""Tools that are Python functions, run in processes of their own."""
