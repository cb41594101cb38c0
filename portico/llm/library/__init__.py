"""Language models on disk: download, verify, store, serve."""
