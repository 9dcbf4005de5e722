"""What a search does next, and what becomes of it: the engine's client for the trials of a study."""
