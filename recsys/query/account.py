"""An account's history beside the person's own: what colleagues did fills a thin history."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from recsys.query.history import History
from recsys.query.query import Query

EVENTS_LIKE_ACCOUNT: Final = 20.0
"""With so many events of one's own, the account's count half."""


def with_account(query: Query, weight: float) -> Query:
    """The query with the account's events in its history, each weighed by `weight` times
    1 / (1 + own events / EVENTS_LIKE_ACCOUNT).

    The query itself where there is no account, or `weight` is 0. Reasons are to be told from the
    query as it was: what a colleague bought is not what this person did.
    """
    if query.account is None or not len(query.account) or weight <= 0:
        return query
    own, account = query.history, query.account
    share = np.float32(weight / (1.0 + len(own) / EVENTS_LIKE_ACCOUNT))
    times = np.concatenate([own.times, account.times])
    order = np.argsort(times, kind="stable")
    return replace(
        query,
        history=History(
            np.concatenate([own.items, account.items])[order],
            np.concatenate([own.kinds, account.kinds])[order],
            times[order],
            np.concatenate([own.weights, share * account.weights])[order],
        ),
    )
