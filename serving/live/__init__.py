"""What changes under a running service: bundles, versions, shop files."""
