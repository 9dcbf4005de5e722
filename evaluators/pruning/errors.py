"""What pruning raises."""


class PruningError(ValueError):
    """Pruning that cannot be done: the text names what, the value, and what is allowed."""
