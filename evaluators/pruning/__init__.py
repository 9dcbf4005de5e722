"""Pruning: whole filters and single weights, by criterion, scope and schedule."""
