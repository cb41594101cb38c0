"""`portico deploy`: secrets, checks, backups and versions of a deployment."""
