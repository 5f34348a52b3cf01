"""Data in, answers out: events, models and rules of a self-learning recommendation service."""
