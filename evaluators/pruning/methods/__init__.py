"""Pruning methods from the literature and their controls: `slimfront.spaces.criteria.Method` says what one is."""
