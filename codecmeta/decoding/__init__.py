"""From packets to decoded pictures, and what FFmpeg's decoders say beside them."""
