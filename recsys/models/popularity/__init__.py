"""Counts over people: popular, trending, by segment, by search term."""
