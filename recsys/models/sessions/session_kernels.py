"""Compiled kernels of session k-NN: nearest visits, their scores, the parts of a score."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.ids import Numbers
from recsys.models.sessions.session_index import SessionIndex

DECAYS: Final = ("linear", "exponential", "reciprocal")
"""Kinds of decay with the position in the current visit; `Settings.decay` is the place here."""


class Visits(NamedTuple):
    """The arrays of a SessionIndex that the kernels read."""

    starts: NDArray[np.int64]
    items: Numbers
    times: NDArray[np.float64]
    item_starts: NDArray[np.int64]
    item_visits: Numbers
    rarity: NDArray[np.float32]

    @classmethod
    def of(cls, index: SessionIndex) -> Visits:
        """Those of this index."""
        return cls(
            index.starts,
            index.items,
            index.times,
            index.item_starts,
            index.item_visits,
            index.rarity,
        )


class Settings(NamedTuple):
    """`SessionKnnConfig` as plain numbers; ages in days."""

    recent: int
    neighbours: int
    last_items: int
    decay: int
    position_rate: float
    half_life_days: float
    matching_rarity: float
    scoring_rarity: float
    length_penalty: float
    sharpness: float
    reach: float
    match_decay: float
    backwards: float
    revisit: float


class Current(NamedTuple):
    """The current visit: distinct items, newest first, clicks since then, what they weigh."""

    items: Numbers
    backs: NDArray[np.int64]
    weights: NDArray[np.float64]


@njit(cache=True, nogil=True)
def scored_items(
    visits: Visits, settings: Settings, clicks: Numbers, now: float
) -> tuple[Numbers, NDArray[np.float32]]:
    """The items with a score for these clicks (oldest first), in no order, and their scores."""
    current = _current(visits, settings, clicks)
    nearest, similarities = _nearest(visits, settings, current, now)
    n_clicks = 0
    for visit in nearest:
        n_clicks += visits.starts[visit + 1] - visits.starts[visit]
    slots = _table(n_clicks)
    items = np.empty(n_clicks, np.int32)
    totals = np.zeros(n_clicks, np.float64)
    # Of the clicks on one item in one visit only the nearest counts.
    counted_in = np.full(n_clicks, -1, np.int64)
    counted = np.empty(n_clicks, np.float64)
    n_items = 0
    for order in range(len(nearest)):
        first, last = visits.starts[nearest[order]], visits.starts[nearest[order] + 1]
        weight = similarities[order] ** settings.sharpness
        near = _nearness(visits.items[first:last], settings, current)
        for click in range(last - first):
            item = visits.items[first + click]
            slot = _slot(slots, items, item)
            if slots[slot] < 0:
                slots[slot] = n_items
                items[n_items] = item
                n_items += 1
            at = slots[slot]
            if counted_in[at] != order:
                counted_in[at], counted[at] = order, 0.0
            more = max(near[click] - counted[at], 0.0)
            counted[at] += more
            totals[at] += weight * more * visits.rarity[item] ** settings.scoring_rarity
    for order in range(len(current.items)):
        slot = _slot(slots, items, current.items[order])
        if slots[slot] >= 0:
            totals[slots[slot]] *= settings.revisit if order > 0 else 0.0
    above = totals[:n_items] > 0
    return items[:n_items][above], totals[:n_items][above].astype(np.float32)


@njit(cache=True, nogil=True)
def parts_of_score(
    visits: Visits, settings: Settings, clicks: Numbers, now: float, item: int
) -> tuple[Numbers, NDArray[np.float64]]:
    """The distinct items of the clicks and what each added to the score of `item`.

    What a near visit adds is divided among the items that it shares, by what they weigh.
    """
    current = _current(visits, settings, clicks)
    nearest, similarities = _nearest(visits, settings, current, now)
    parts = np.zeros(len(current.items), np.float64)
    for order in range(len(nearest)):
        first, last = visits.starts[nearest[order]], visits.starts[nearest[order] + 1]
        of_visit = visits.items[first:last]
        near = _nearness(of_visit, settings, current)
        added = 0.0
        for click in range(last - first):
            if of_visit[click] == item:
                added = max(added, near[click])
        if added > 0:
            shared = np.zeros(len(current.items), np.float64)
            for known in range(len(current.items)):
                if np.any(of_visit == current.items[known]):
                    shared[known] = current.weights[known]
            parts += added * similarities[order] ** settings.sharpness * shared / shared.sum()
    return current.items, parts


@njit(cache=True, nogil=True)
def _current(visits: Visits, settings: Settings, clicks: Numbers) -> Current:
    n_looked_at = min(len(clicks), settings.last_items)
    items = np.empty(n_looked_at, np.int32)
    backs = np.empty(n_looked_at, np.int64)
    weights = np.empty(n_looked_at, np.float64)
    count = 0
    for back in range(n_looked_at):
        item = clicks[len(clicks) - 1 - back]
        if not np.any(items[:count] == item):
            if settings.decay == 0:
                decay = max(1.0 - settings.position_rate * back / settings.last_items, 0.0)
            elif settings.decay == 1:
                decay = math.exp(-settings.position_rate * back)
            else:
                decay = (1.0 + back) ** -settings.position_rate
            items[count], backs[count] = item, back
            weights[count] = decay * visits.rarity[item] ** settings.matching_rarity
            count += 1
    return Current(items[:count], backs[:count], weights[:count])


@njit(cache=True, nogil=True)
def _nearest(
    visits: Visits, settings: Settings, current: Current, now: float
) -> tuple[Numbers, NDArray[np.float64]]:
    """The k most similar of the m newest visits that share an item, and how similar they are."""
    n_postings = 0
    for item in current.items:
        n_postings += visits.item_starts[item + 1] - visits.item_starts[item]
    slots = _table(n_postings)
    near_visits = np.empty(n_postings, np.int32)
    sums = np.zeros(n_postings, np.float64)
    count = 0
    for order in range(len(current.items)):
        if current.weights[order] <= 0:
            continue
        item = current.items[order]
        for posting in range(visits.item_starts[item], visits.item_starts[item + 1]):
            visit = visits.item_visits[posting]
            slot = _slot(slots, near_visits, visit)
            if slots[slot] < 0:
                slots[slot] = count
                near_visits[count] = visit
                count += 1
            sums[slots[slot]] += current.weights[order]
    near_visits, sums = near_visits[:count], sums[:count]
    if count > settings.recent:
        # A higher number is a newer visit.
        newest = (
            near_visits
            >= np.partition(near_visits, count - settings.recent)[count - settings.recent]
        )
        near_visits, sums = near_visits[newest], sums[newest]
    for order in range(len(near_visits)):
        visit = near_visits[order]
        age_days = max(now - visits.times[visit], 0.0) / 86_400.0
        length = visits.starts[visit + 1] - visits.starts[visit]
        sums[order] *= 2.0 ** (-age_days / settings.half_life_days)
        sums[order] /= length**settings.length_penalty
    if len(near_visits) > settings.neighbours:
        edge = np.partition(sums, len(sums) - settings.neighbours)[len(sums) - settings.neighbours]
        kept = sums > edge
        # Among equals at the edge the newest.
        missing = settings.neighbours - kept.sum()
        equal = np.flatnonzero(sums == edge)
        equal = equal[np.argsort(-near_visits[equal])][:missing]
        kept[equal] = True
        near_visits, sums = near_visits[kept], sums[kept]
    return near_visits, sums


@njit(cache=True, nogil=True)
def _nearness(of_visit: Numbers, settings: Settings, current: Current) -> NDArray[np.float64]:
    """Per click of a visit the best e^(−match_decay · b − distance / reach) over its matches."""
    step = math.exp(-1.0 / settings.reach)
    length = len(of_visit)
    matches = np.zeros(length, np.float64)
    near = np.empty(length, np.float64)
    best = 0.0
    for click in range(length):
        for known in range(len(current.items)):
            if current.items[known] == of_visit[click]:
                matches[click] = math.exp(-settings.match_decay * current.backs[known])
                break
        best = max(best * step, matches[click])
        near[click] = best
    best = 0.0
    for click in range(length - 1, -1, -1):
        near[click] = max(near[click], settings.backwards * best)
        best = max(best, matches[click]) * step
    return near


@njit(cache=True, nogil=True)
def _table(n: int) -> NDArray[np.int32]:
    """An empty hash table for n keys, at most half full: a power of two of −1."""
    size = 16
    while size < 2 * n:
        size *= 2
    return np.full(size, -1, np.int32)


@njit(cache=True, nogil=True)
def _slot(slots: NDArray[np.int32], keys: Numbers, key: int) -> int:
    """Where a key is in the table or where it belongs: `slots` holds places in `keys`."""
    mask = len(slots) - 1
    # Fibonacci hashing: the high bits of key · 2³²/φ spread runs of neighbouring numbers.
    slot = ((key * 2_654_435_769) >> 12) & mask
    while slots[slot] >= 0 and keys[slots[slot]] != key:
        slot = (slot + 1) & mask
    return slot
