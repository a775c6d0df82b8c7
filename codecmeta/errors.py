"""The two ways in which an input can be bad. Wrong arguments raise ValueError or TypeError."""


class VideoError(Exception):
    """A video cannot be read: the message says which file, what is wrong with it and the way out."""


class CacheError(Exception):
    """A cache file cannot be used: damaged, from a newer format version, or made with other settings."""
