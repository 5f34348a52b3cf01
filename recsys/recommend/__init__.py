"""Recommend, similar, bought together and rerank, with rules, fallback and reasons."""
