"""What stands behind `evaluators.data`: images in memory, the cache on disk, and a file for every kind of source."""
