"""Networks of a user's own: a class is a family whose architecture is what its constructor is told."""
