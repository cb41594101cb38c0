"""The stack that runs on one machine: parts, binaries, supervisor."""
