"""The model families: one protocol, one registry, one folder for each kind of evidence."""
