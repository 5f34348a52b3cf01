"""`--task next-basket`: what is in the next basket of a customer whose baskets are known.

Users are split by seed: the future baskets of some tune, those of all others are reported.
Everybody's history is known in both. Li, Jullien, Ariannezhad, de Rijke: A next basket
recommendation reality check, TOIS 2023.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.errors import InsufficientData
from recsys.events.schema import PURCHASE
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import Numbers
from training.benchmark.measures import NEXT_BASKET
from training.benchmark.prepared import Prepared
from training.benchmark.protocols.files import Numbering, read_baskets
from training.benchmark.spaces import Size
from training.benchmark.task_data import (
    AS_OF,
    BenchmarkTask,
    EvalQueries,
    InteractionTable,
    no_hidden,
    training_data,
)

TUNED_SHARE: Final = 0.5
LEAST_USERS: Final = 4


def prepare(history: Path, future: Path, *, rng: Generator) -> Prepared:
    """The basket that comes next is a customer's first in the future file.

    Customers without a history or without a future are left out; InsufficientData where fewer
    than four remain.
    """
    past = {user: baskets for user, baskets in read_baskets(history).items() if baskets}
    to_come = {user: baskets for user, baskets in read_baskets(future).items() if baskets}
    numbering = Numbering()
    acts = _acts(list(past.values()), numbering)
    number_of = {user: number for number, user in enumerate(past)}
    asked = np.array([number_of[user] for user in to_come if user in number_of], np.int64)
    if len(asked) < LEAST_USERS:
        raise InsufficientData(
            f"{len(asked)} customers have both a history in {history} and a basket in {future}; "
            f"at least {LEAST_USERS} are needed."
        )
    truth = [
        np.unique([numbering.number(item) for item in to_come[user][0]]).astype(np.int32)
        for user in to_come
        if user in number_of
    ]
    items = numbering.vocabulary()
    data = training_data(acts, n_users=len(past), items=items, kind="purchase", baskets=True)
    starts = data.timeline.starts
    whole = BenchmarkTask(
        data,
        EvalQueries(
            acts.items,
            acts.times,
            PURCHASE,
            starts[asked],
            starts[asked + 1],
            visits=_last_baskets(acts.events, starts, asked),
            nows=np.full(len(asked), AS_OF.timestamp()),
        ),
        truth,
        no_hidden(len(asked)),
    )
    tuned = np.zeros(len(asked), np.bool_)
    n_tuned = max(1, round(TUNED_SHARE * len(asked)))
    tuned[rng.permutation(len(asked))[:n_tuned]] = True
    return Prepared(
        task="next-basket",
        validation=whole.part(np.flatnonzero(tuned)),
        test=whole.part(np.flatnonzero(~tuned)),
        rules=NEXT_BASKET,
        size=Size(len(past), len(items), len(acts)),
        about=f"{int(acts.events[-1]) + 1:,} baskets of {len(past):,} customers, {len(items):,} "
        f"items; tuned on {n_tuned:,} customers, reported on {len(asked) - n_tuned:,} others",
    )


def _acts(customers: list[list[list[str]]], numbering: Numbering) -> InteractionTable:
    """Every customer's newest basket is one day old, the one before it two days, and so on."""
    users: list[int] = []
    items: list[int] = []
    ages: list[int] = []
    events: list[int] = []
    event = 0
    for user, baskets in enumerate(customers):
        for place, basket in enumerate(baskets):
            numbers = sorted({numbering.number(item) for item in basket})
            users += [user] * len(numbers)
            items += numbers
            ages += [len(baskets) - place] * len(numbers)
            events += [event] * len(numbers)
            event += 1
    times = AS_OF.timestamp() - SECONDS_PER_DAY * np.array(ages, np.float64)
    numbered = np.array(events, np.int64)
    return InteractionTable(
        np.array(users, np.int32), np.array(items, np.int32), times, numbered, numbered
    )


def _last_baskets(
    events: NDArray[np.int64], starts: NDArray[np.int64], users: Numbers | NDArray[np.int64]
) -> NDArray[np.int64]:
    """Where each user's newest basket begins."""
    return np.searchsorted(events, events[starts[users + 1] - 1])
