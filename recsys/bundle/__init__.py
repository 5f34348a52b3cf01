"""All that a service needs, in one directory, and its publication."""
