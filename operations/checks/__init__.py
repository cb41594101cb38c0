"""Checks of a machine, a home and a deployment, each with what mends it."""
