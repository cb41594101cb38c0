"""The read-only system that every sandbox sees."""
