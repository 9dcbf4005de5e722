"""Pictures: the front, learning curves, where the epochs went."""
