"""The built-in text-image model: SigLIP's classes, small, for pictures of the built-in world and texts about them."""
