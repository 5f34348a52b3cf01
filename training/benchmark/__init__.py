"""`recsys benchmark`: our models by published protocols, beside the published figures.

run_set(set, …)
    prepare      files → validation and test questions     top_n, session, next_basket,
                                                           leave_one_out
    measure      settings and blend on validation, then     search, spaces, blending
                 one look at the test
    purchases    a shop's log through the nightly's trial   purchases
    write        table, JSON, Markdown, MLflow              table, command
"""
