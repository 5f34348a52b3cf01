"""Comparisons with named peers beside the main tables."""
