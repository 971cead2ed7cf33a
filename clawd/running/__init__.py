"""One run: the keeper that owns it and the stream of its events."""
