"""`recsys benchmark`: our models by published protocols, with the published figures beside them.

run_set(data_set, …)
    prepare      files → validation and test queries        protocols, task_data, metrics
    tune         settings and blend on validation, then      starting_points, tuning
                 the test set is scored once
    purchases    a shop's log through the nightly's trial    purchases
    results      tables, JSON, Markdown, MLflow              results, command
"""
