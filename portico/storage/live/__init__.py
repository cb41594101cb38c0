"""The live hub: updates between processes, never stored."""
