"""What colleagues did fills a thin history, and no reason tells of it."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from recsys.query.account import EVENTS_LIKE_ACCOUNT, with_account
from recsys.query.history import NO_HISTORY, History
from recsys.query.query import Query

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def bought(*items: int, since: float = 0.0) -> History:
    return History(
        np.array(items, np.int32),
        np.full(len(items), 8, np.int8),
        since + np.arange(len(items), dtype=np.float64),
        np.ones(len(items), np.float32),
    )


def test_without_an_account_the_query_is_the_same() -> None:
    query = Query(now=NOW, history=bought(1))
    assert with_account(query, 0.5) is query
    with_other = Query(now=NOW, history=bought(1), account=bought(2))
    assert with_account(with_other, 0.0) is with_other


def test_the_accounts_events_join_in_the_order_of_time() -> None:
    query = Query(now=NOW, history=bought(1, 2, since=10), account=bought(7, 8, since=9.5))
    joined = with_account(query, 0.5).history
    assert joined.items.tolist() == [7, 1, 8, 2]
    assert (np.diff(joined.times) >= 0).all()


def test_the_more_one_has_done_oneself_the_less_the_account_weighs() -> None:
    account = bought(7)
    nothing = with_account(Query(now=NOW, history=NO_HISTORY, account=account), 0.5)
    assert nothing.history.weights.tolist() == [0.5]
    many = bought(*range(100, 100 + int(EVENTS_LIKE_ACCOUNT)), since=10)
    full = with_account(Query(now=NOW, history=many, account=account), 0.5)
    assert full.history.weights[0] == np.float32(0.25)
    assert full.history.weights[1:].tolist() == [1.0] * len(many)
