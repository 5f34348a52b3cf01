"""How a benchmark chooses settings on validation data."""
