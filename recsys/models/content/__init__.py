"""Models of item descriptions: content, cold items, attribute affinity."""
