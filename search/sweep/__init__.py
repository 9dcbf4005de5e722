"""Accuracy against pruning ratio, method by method, on one network."""
