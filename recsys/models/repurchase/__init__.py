"""What a person buys or looks at again: repeats, re-buys, refills."""
