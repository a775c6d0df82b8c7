"""A strategy at work on a model: adapters, hooks, sessions."""
