"""A bounded share of places for new items, so that they can be learnt about; drawn, and on record.

Every item of a list carries its propensity: the chance with which it stands in this list, before
anything was drawn. Outcomes can be weighed by it, so that exploring does not bias what is learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import comb

import numpy as np
from numpy.random import Generator

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Exploration
from recsys.catalog.live import LiveCatalog
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import Mask, Numbers
from recsys.models.protocol import Model
from recsys.query.query import Query
from recsys.recommend.answers import EXPLORATION, PINNED, Answer, Recommendation
from recsys.recommend.rule_engine import RuleEngine
from recsys.recommend.suppression import Suppression


def explore(
    answer: Answer,
    query: Query,
    bundle: Bundle,
    live_catalog: LiveCatalog,
    exploration: Exploration,
    *,
    eligible: Mask,
    suppression: Suppression,
    rules: RuleEngine,
    rng: Generator,
) -> Answer:
    """The answer with new items drawn into it, within all rules of the list.

    `eligible` is what the list may hold at all; `query` as the models see it.
    """
    shown = answer.numbers
    if not len(shown):
        return answer
    since = query.now.timestamp() - exploration.new_days * SECONDS_PER_DAY
    new = eligible & live_catalog.new_since(since)
    new[suppression.hidden] = False
    new[suppression.resting] = False
    new[live_catalog.columns.with_variants(shown)] = False
    pinned = {item.number for item in answer.items if item.source == PINNED}

    def may_stand(numbers: Numbers) -> bool:
        if rules.take_the_best:
            return True
        choice = rules.choose(numbers, len(numbers))
        return choice.places == tuple(range(len(numbers))) and pinned <= set(numbers.tolist())

    candidates = np.flatnonzero(new).astype(np.int32)
    found = explored(
        shown,
        candidates,
        exploration,
        rng=rng,
        suited=lambda: suited_of(candidates, exploration, query, bundle.models, len(eligible)),
        may_stand=may_stand,
    )
    known = {item.number: item for item in answer.items}
    return replace(
        answer,
        items=tuple(
            Recommendation(number, 0.0, EXPLORATION, "everybody", propensity=propensity)
            if number in found.drawn
            else replace(known[number], propensity=propensity)
            for number, propensity in zip(found.numbers.tolist(), found.propensities, strict=True)
        ),
    )


@dataclass(frozen=True, slots=True)
class Explored:
    """A list after the draw: `numbers` in their order, the propensity of each, and which of them
    were drawn."""

    numbers: Numbers
    propensities: tuple[float, ...]
    drawn: frozenset[int]


def explored(
    shown: Numbers,
    new: Numbers,
    exploration: Exploration,
    *,
    rng: Generator,
    suited: Callable[[], Numbers],
    may_stand: Callable[[Numbers], bool],
) -> Explored:
    """The list with new items drawn into it, each in place of the last one.

    `new` are the new items that might stand in it and do not yet; `suited()` those of them that
    suit the person, asked for only when one is drawn. A list for which `may_stand` is false stays
    as it was. A list of n has `places(n)` places for them, each used with the chance c; the m-th
    item from the end then stands with the chance that fewer than m are drawn, and a new one with
    c / |suited| per place.
    """
    spans = places(len(shown), exploration)
    if not spans or not len(new):
        return Explored(shown, (1.0,) * len(shown), frozenset())
    chance = min(1.0, exploration.share * len(shown) / len(spans))
    stays = [_fewer_than(m, len(spans), chance) for m in range(len(shown), 0, -1)]
    used = [span for span in spans if rng.random() < chance]
    if not used:
        return Explored(shown, tuple(stays), frozenset())
    pool = suited()
    drawn = rng.choice(pool, size=min(len(used), len(pool)), replace=False).tolist()
    numbers = shown.tolist()
    for number, (first, last) in zip(drawn, used, strict=False):
        numbers.insert(int(rng.integers(first, last)), number)
    kept = np.array(numbers[: len(shown)], np.int32)
    if not may_stand(kept):
        return Explored(shown, tuple(stays), frozenset())
    before = dict(zip(shown.tolist(), stays, strict=True))
    each = min(1.0, chance * len(spans) / len(pool))
    return Explored(
        kept,
        tuple(before.get(number, each) for number in kept.tolist()),
        frozenset(drawn) & frozenset(kept.tolist()),
    )


def places(n: int, exploration: Exploration) -> list[tuple[int, int]]:
    """The spans of positions in a list of n in each of which one new item may stand: one for every
    `every` of them, at least one, none of them above `first`."""
    spans = []
    for start in range(0, max(n - exploration.every, 0) + 1, exploration.every):
        first, last = max(start, exploration.first), min(start + exploration.every, n)
        if first < last:
            spans.append((first, last))
    return spans


def suited_of(
    new: Numbers,
    exploration: Exploration,
    query: Query,
    models: Mapping[str, Model],
    n_items: int,
) -> Numbers:
    """The `pool` of new items that suit the person best, by the first of the exploration's models
    that is there and has an opinion; all of them where nothing is known."""
    mask: Mask = np.zeros(n_items, np.bool_)
    mask[new] = True
    for name in exploration.models:
        if name in models:
            (found,) = models[name].condition([query]).retrieve(exploration.pool, mask)
            if len(found):
                return found.numbers
    return new


def _fewer_than(m: int, n: int, chance: float) -> float:
    """P(Binomial(n, chance) < m)."""
    if m > n:
        return 1.0
    return sum(comb(n, k) * chance**k * (1.0 - chance) ** (n - k) for k in range(m))
