"""The event store: its protocol and its implementations."""
