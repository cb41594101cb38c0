"""Settings: models, loading, home folder, connections, secret files."""
