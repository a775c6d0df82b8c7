"""H.265 / HEVC: an entropy parser. What packets say about pictures, without decoding a pixel."""
