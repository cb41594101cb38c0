"""The guard for outgoing traffic, and the proxy that applies it to other processes."""
