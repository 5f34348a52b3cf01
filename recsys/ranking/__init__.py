"""The second stage: features of (query, item) and the LambdaMART ranker."""
