"""Shared scorers: sparse, dense and neighbour scores, indexes, saved arrays."""
