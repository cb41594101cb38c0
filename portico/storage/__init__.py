"""Where Portico keeps things: the encrypted database, blobs, live updates."""
