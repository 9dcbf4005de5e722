"""What can be learned from the records of a study: pure functions."""
