"""Video language models that strategies are applied to: one thin adapter per architecture, and a small built-in model."""
