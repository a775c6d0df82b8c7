"""Many videos: found, extracted side by side, listed, opened."""
