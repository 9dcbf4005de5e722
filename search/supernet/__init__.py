"""What a search does before its first trial where its shapes share one training, and what its trials inherit."""
