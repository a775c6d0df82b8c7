"""One thin adapter per architecture."""
