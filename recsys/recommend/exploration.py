"""Exploration: a bounded share of positions for new items, drawn at random, with propensities.

The propensity of an item is its probability to be in this list before the draw. Outcomes can be
weighted by its inverse, so that exploration does not bias what is learnt from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import comb

import numpy as np
from numpy.random import Generator

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Exploration
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import Mask, Numbers
from recsys.models.protocol import Model
from recsys.query.query import Query
from recsys.recommend.answers import EXPLORATION, Answer, Recommendation
from recsys.recommend.rule_engine import ListLimits
from recsys.recommend.suppression import Suppression


def explore(
    answer: Answer,
    query: Query,
    bundle: Bundle,
    exploration: Exploration,
    limits: ListLimits,
    suppression: Suppression,
    *,
    rng: Generator,
) -> Answer:
    """The answer with new items drawn into it, within all rules of the list; `query` is as the
    models get it."""
    shown = answer.numbers
    if not len(shown):
        return answer
    since = query.now.timestamp() - exploration.new_days * SECONDS_PER_DAY
    new = limits.eligible & limits.live_catalog.new_since(since)
    new[suppression.excluded] = False
    new[suppression.suppressed] = False
    new[limits.live_catalog.columns.with_variants(shown)] = False
    new_items = np.flatnonzero(new).astype(np.int32)
    draw = draw_new_items(
        shown,
        new_items,
        exploration,
        rng=rng,
        best_new=lambda: best_new_items(
            new_items, exploration, query, bundle.models, n_items=len(new)
        ),
        keeps_rules=lambda numbers: limits.rules.keeps_promises(shown, numbers),
    )
    known = {item.number: item for item in answer.items}
    return replace(
        answer,
        items=tuple(
            Recommendation(number, 0.0, EXPLORATION, "everybody", propensity=propensity)
            if number in draw.drawn
            else replace(known[number], propensity=propensity)
            for number, propensity in zip(draw.numbers.tolist(), draw.propensities, strict=True)
        ),
    )


@dataclass(frozen=True, slots=True)
class ExplorationDraw:
    """A list after the draw: item numbers in order, the propensity of each, and the drawn items."""

    numbers: Numbers
    propensities: tuple[float, ...]
    drawn: frozenset[int]


def draw_new_items(
    shown: Numbers,
    new: Numbers,
    exploration: Exploration,
    *,
    rng: Generator,
    best_new: Callable[[], Numbers],
    keeps_rules: Callable[[Numbers], bool],
) -> ExplorationDraw:
    """The list with new items drawn into it, each in place of the last item.

    `new` are the new items that are not in the list; `best_new()` the ones to draw from, called
    only for a draw. A list that does not keep the rules is dropped for the one without new items.
    Each span of `exploration_spans` is used with probability c; the m-th item from the end stays
    with the probability that fewer than m are drawn, and a new item has c / |best_new| per span.
    """
    spans = exploration_spans(len(shown), exploration)
    if not spans or not len(new):
        return ExplorationDraw(shown, (1.0,) * len(shown), frozenset())
    chance = min(1.0, exploration.share * len(shown) / len(spans))
    stays = [_fewer_than(m, len(spans), chance) for m in range(len(shown), 0, -1)]
    used = [span for span in spans if rng.random() < chance]
    if not used:
        return ExplorationDraw(shown, tuple(stays), frozenset())
    pool = best_new()
    drawn = rng.choice(pool, size=min(len(used), len(pool)), replace=False).tolist()
    numbers = shown.tolist()
    for number, (first, last) in zip(drawn, used, strict=False):
        numbers.insert(int(rng.integers(first, last)), number)
    kept = np.array(numbers[: len(shown)], np.int32)
    if not keeps_rules(kept):
        return ExplorationDraw(shown, tuple(stays), frozenset())
    before = dict(zip(shown.tolist(), stays, strict=True))
    each = min(1.0, chance * len(spans) / len(pool))
    return ExplorationDraw(
        kept,
        tuple(before.get(number, each) for number in kept.tolist()),
        frozenset(drawn) & frozenset(kept.tolist()),
    )


def exploration_spans(n: int, exploration: Exploration) -> list[tuple[int, int]]:
    """Spans of positions [first, last) of a list of n that may each get one new item: one in every
    `every` positions, none above position `first`."""
    spans = []
    for start in range(0, max(n - exploration.every, 0) + 1, exploration.every):
        first, last = max(start, exploration.first), min(start + exploration.every, n)
        if first < last:
            spans.append((first, last))
    return spans


def best_new_items(
    new: Numbers,
    exploration: Exploration,
    query: Query,
    models: Mapping[str, Model],
    *,
    n_items: int,
) -> Numbers:
    """The `pool` best new items by the first of the exploration's models that has an opinion; all
    new items where none has."""
    mask: Mask = np.zeros(n_items, np.bool_)
    mask[new] = True
    for name in exploration.models:
        if name in models:
            (best,) = models[name].condition([query]).retrieve(exploration.pool, mask)
            if len(best):
                return best.numbers
    return new


def _fewer_than(m: int, n: int, chance: float) -> float:
    """P(Binomial(n, chance) < m)."""
    if m > n:
        return 1.0
    return sum(comb(n, k) * chance**k * (1.0 - chance) ** (n - k) for k in range(m))
