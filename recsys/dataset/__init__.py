"""What a model learns from, as of one moment: interactions, splits, impressions, contexts."""
