"""The fine model: 32 frames of 8x8 tokens each, for small objects and short events; for evaluation."""
