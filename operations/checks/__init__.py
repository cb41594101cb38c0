"""Checks of a machine, a home and a deployment, each with its fix."""
