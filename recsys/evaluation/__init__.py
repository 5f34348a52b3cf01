"""Runs the recommendation path over a held-out period and measures it."""
