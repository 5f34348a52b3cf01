"""Routes: validate, call a use case, respond."""
