"""The world of the built-in model: moving shapes, questions about them, encoded clips."""
