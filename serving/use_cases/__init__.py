"""What the service does, without HTTP or BentoML."""
