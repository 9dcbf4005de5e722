"""Data sets: `splits` gives them out; behind it images in memory, the cache on disk, and a file for every source."""
