"""The history of a person's account, mixed into their own where that is short."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from recsys.query.history import History
from recsys.query.query import Query

EVENTS_LIKE_ACCOUNT: Final = 20.0
"""The number of a person's events at which those of the account count half."""


def with_account(query: Query, weight: float) -> Query:
    """The query with the account's events in its history, each weighed by `weight` times
    1 / (1 + the person's own events / EVENTS_LIKE_ACCOUNT).

    The query itself where there is no account, or `weight` is 0. Reasons are derived from the
    original query: what a colleague bought is not what this person did.
    """
    if query.account is None or not len(query.account) or weight <= 0:
        return query
    history, account = query.history, query.account
    share = np.float32(weight / (1.0 + len(history) / EVENTS_LIKE_ACCOUNT))
    times = np.concatenate([history.times, account.times])
    order = np.argsort(times, kind="stable")
    return replace(
        query,
        history=History(
            np.concatenate([history.items, account.items])[order],
            np.concatenate([history.kinds, account.kinds])[order],
            times[order],
            np.concatenate([history.weights, share * account.weights])[order],
        ),
    )
