"""Administration: login, pairing, dead letters, models, usage, history, codec server."""
