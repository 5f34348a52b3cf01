"""The model families: one file each, one protocol, one registry."""
