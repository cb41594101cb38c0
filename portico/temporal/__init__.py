"""Temporal client, payload codec and external payload storage."""
