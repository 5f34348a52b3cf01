"""Training data of any size without an event log: popularity falls off as in shops."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from scipy.sparse import csr_array

from recsys.catalog import Catalog
from recsys.events import PURCHASE
from recsys.ids import Vocabulary
from recsys.profiles import UNKNOWN
from recsys.training_data import Baskets, Popularity, Timeline, TrainingData
from recsys.weighting import SECONDS_PER_DAY, Weighting


def made_data(
    *, users: int, items: int, interactions: int, as_of: datetime, seed: int
) -> TrainingData:
    """One purchase per interaction, within 90 days, item popularity ∝ 1 / (rank + 10)."""
    rng = np.random.default_rng(seed)
    chances = 1.0 / (np.arange(items) + 10.0)
    bought = rng.choice(items, interactions, p=chances / chances.sum()).astype(np.int32)
    who = np.sort(rng.integers(0, users, interactions).astype(np.int32))
    times = as_of.timestamp() - rng.uniform(0, 90, interactions) * SECONDS_PER_DAY
    order = np.lexsort((times, who))
    bought, times = bought[order], times[order]
    names = Vocabulary([f"item-{number:07}" for number in range(items)])
    ones = np.ones(interactions, np.float32)
    matrix = csr_array((ones, (who, bought)), shape=(users, items))
    matrix.sum_duplicates()
    days = np.floor(times / SECONDS_PER_DAY) * SECONDS_PER_DAY
    return TrainingData(
        as_of=as_of,
        users=Vocabulary([f"u:{number:07}" for number in range(users)]),
        items=names,
        interactions=matrix,
        timeline=Timeline(
            starts=np.searchsorted(who, np.arange(users + 1)).astype(np.int64),
            users=who,
            items=bought,
            kinds=np.full(interactions, PURCHASE, np.int8),
            times=times,
            events=np.arange(interactions, dtype=np.int64),
        ),
        baskets=Baskets(matrix, np.arange(users, dtype=np.int32), np.zeros(users)),
        popularity=Popularity(
            items=bought,
            kinds=np.full(interactions, PURCHASE, np.int8),
            days=days,
            countries=np.full(interactions, -1, np.int32),
            counts=np.ones(interactions),
            country_names=Vocabulary([]),
        ),
        catalog=Catalog.of([], names),
        profiles=(UNKNOWN,) * users,
        weighting=Weighting(kind_weights={"purchase": 1.0}, half_life_days=60.0),
    )
