"""Models of the visit under way: co-visits and session neighbours."""
