"""Tools written as functions, one file each."""
