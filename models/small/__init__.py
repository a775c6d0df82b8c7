"""The built-in small model: how it was made (scenes, questions, training, evaluation) and its weights."""
