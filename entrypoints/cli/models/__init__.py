"""`portico models`: language models, intents, measurements and releases."""
