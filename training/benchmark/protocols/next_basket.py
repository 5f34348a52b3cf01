"""`--task next-basket`: the items of the next basket of a customer whose baskets are known.

Users are split by seed: the future baskets of one half tune, those of the other half are reported.
Everybody's history is training data in both. Li, Jullien, Ariannezhad, de Rijke: A next basket
recommendation reality check, TOIS 2023.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.random import Generator

from recsys.errors import InsufficientData
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import NONE
from training.benchmark.metrics import NEXT_BASKET
from training.benchmark.protocols.files import Numbering, read_baskets
from training.benchmark.task_data import (
    AS_OF,
    BenchmarkTask,
    EvalQueries,
    InteractionTable,
    PreparedSet,
    SetSize,
    training_data,
)

TUNED_SHARE: Final = 0.5
LEAST_USERS: Final = 4


def prepare(history: Path, future: Path, *, rng: Generator) -> PreparedSet:
    """The truth is a customer's first basket in the future file.

    Customers without a history or without a future are left out; InsufficientData where fewer
    than four remain.
    """
    past = {user: baskets for user, baskets in read_baskets(history).items() if baskets}
    to_come = {user: baskets for user, baskets in read_baskets(future).items() if baskets}
    numbering = Numbering()
    table = _table(list(past.values()), numbering)
    number_of = {user: number for number, user in enumerate(past)}
    customers = [user for user in to_come if user in number_of]
    if len(customers) < LEAST_USERS:
        raise InsufficientData(
            f"{len(customers)} customers have both a history in {history} and a basket in "
            f"{future}; at least {LEAST_USERS} are needed."
        )
    truth = [
        np.unique([numbering.number(item) for item in to_come[user][0]]).astype(np.int32)
        for user in customers
    ]
    items = numbering.vocabulary()
    data = training_data(table, n_users=len(past), items=items, kind="purchase")
    queried = np.array([number_of[user] for user in customers], np.int64)
    events, ends = data.timeline.events, data.timeline.starts[queried + 1]
    newest_baskets = np.searchsorted(events, events[ends - 1])
    queries = EvalQueries.of_users(data, queried, visits=newest_baskets)
    whole = BenchmarkTask(data, queries, truth, [NONE] * len(queried))
    tuned = np.zeros(len(queried), np.bool_)
    n_tuned = max(1, round(TUNED_SHARE * len(queried)))
    tuned[rng.permutation(len(queried))[:n_tuned]] = True
    return PreparedSet(
        task="next-basket",
        validation=whole.subset(np.flatnonzero(tuned)),
        test=whole.subset(np.flatnonzero(~tuned)),
        metrics=NEXT_BASKET,
        size=SetSize(len(past), len(items), len(table)),
        about=f"{int(events[-1]) + 1:,} baskets of {len(past):,} customers, {len(items):,} "
        f"items; tuned on {n_tuned:,} customers, reported on {len(queried) - n_tuned:,} others",
    )


def _table(customers: list[list[list[str]]], numbering: Numbering) -> InteractionTable:
    """Every customer's newest basket is one day old, the one before it two days, and so on."""
    columns: list[tuple[int, int, int, int]] = []
    event = 0
    for user, baskets in enumerate(customers):
        for position, basket in enumerate(baskets):
            columns += [
                (user, item, len(baskets) - position, event)
                for item in sorted({numbering.number(item) for item in basket})
            ]
            event += 1
    users, items, ages, events = np.array(columns, np.int64).reshape(-1, 4).T
    times = AS_OF.timestamp() - SECONDS_PER_DAY * ages.astype(np.float64)
    return InteractionTable(
        users.astype(np.int32), items.astype(np.int32), times, events=events, sessions=events
    )
