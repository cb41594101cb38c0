"""Every effect, one file for each family of steps."""
