"""From data source to fitted bundle: models, blend weights, ranker."""
