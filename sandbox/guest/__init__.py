"""What runs inside a sandbox, with its own Python environment and nothing of the service."""
