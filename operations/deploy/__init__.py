"""A deployment on a server: secrets, certificates, edge, versions, backup and restore."""
