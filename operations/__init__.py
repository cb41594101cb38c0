"""What keeps Portico running: set-up, supervisor, deployment, backup, checks, rule bundles."""
