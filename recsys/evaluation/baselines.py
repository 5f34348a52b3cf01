"""Baselines of every evaluation: popularity and personal frequency, counted directly.

They do not use the models, so that a defect in a model cannot hide in its baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.training_data import TrainingData
from recsys.events.schema import PURCHASE
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import NONE, Mask, Numbers
from recsys.models.scoring.top_n import top_n

Baseline = Callable[..., list[Numbers]]


def popularity(
    data: TrainingData,
    persons: Sequence[str],
    n: int,
    *,
    eligible: Mask,
    excluded: Sequence[Numbers],
    days: float | None = None,
) -> list[Numbers]:
    """The items with the most distinct buyers, of the last `days` or of all time."""
    counts = buyers(data, days=days).astype(np.float32)
    return [
        top_n(counts, n, exclude=excluded_items, allow=eligible).numbers
        for excluded_items in excluded
    ]


def popularity_30_days(
    data: TrainingData,
    persons: Sequence[str],
    n: int,
    *,
    eligible: Mask,
    excluded: Sequence[Numbers],
) -> list[Numbers]:
    """The items with the most distinct buyers of the last 30 days."""
    return popularity(data, persons, n, eligible=eligible, excluded=excluded, days=30.0)


def personal_frequency(
    data: TrainingData,
    persons: Sequence[str],
    n: int,
    *,
    eligible: Mask,
    excluded: Sequence[Numbers],
) -> list[Numbers]:
    """What the person bought in most purchases; ties and the rest by 30-day popularity."""
    recent = buyers(data, days=30.0)
    rest = recent / (recent.max(initial=0.0) + 1.0)  # below 1: orders ties, never beats a purchase
    lists = []
    for person, excluded_items in zip(persons, excluded, strict=True):
        user = data.users.number(person)
        bought = _purchases(data, user)
        scores = rest.copy()
        np.add.at(scores, bought, 1.0)
        lists.append(
            top_n(scores.astype(np.float32), n, exclude=excluded_items, allow=eligible).numbers
        )
    return lists


BASELINES: Final[Mapping[str, Baseline]] = {
    "popularity": popularity,
    "popularity_30_days": popularity_30_days,
    "personal_frequency": personal_frequency,
}


def buyers(data: TrainingData, *, days: float | None = None) -> NDArray[np.float64]:
    """Distinct known customers who bought each item, ever or within `days` before `as_of`."""
    timeline = data.timeline
    chosen = timeline.kinds == PURCHASE
    if days is not None:
        chosen &= timeline.times >= data.as_of.timestamp() - days * SECONDS_PER_DAY
    n_items = len(data.items)
    pairs = np.unique(timeline.users[chosen].astype(np.int64) * n_items + timeline.items[chosen])
    return np.bincount(pairs % n_items, minlength=n_items).astype(np.float64)


def _purchases(data: TrainingData, user: int | None) -> Numbers:
    if user is None:
        return NONE
    timeline = data.timeline
    span = slice(int(timeline.starts[user]), int(timeline.starts[user + 1]))
    items: Numbers = timeline.items[span][timeline.kinds[span] == PURCHASE]
    return items
