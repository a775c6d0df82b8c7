"""From a file to its packet table, by demuxing alone."""
