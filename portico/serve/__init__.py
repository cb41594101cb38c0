"""Composition roots: the processes that tie the rooms together."""
