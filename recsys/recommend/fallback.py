"""From ordered candidates to lists of n: what the rules choose, then what the fallbacks add.

A list is filled in two rounds over the same sources: the placement's candidates, its fallback
models in their order, the catalogue. In the first every rule holds and what rests stays out; in the
second, for lists that are still short, quotas, diversity and rest give way. Filters, exclusions,
stock and what is hidden hold always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.ids import Mask, Numbers, Scores
from recsys.models.protocol import ScoredItems
from recsys.query.query import Query
from recsys.recommend.answers import CATALOG, PINNED
from recsys.recommend.rule_engine import Choice, RuleEngine
from recsys.recommend.suppression import Suppression

BEYOND: Final = 5
"""How many times as many items a fallback model is asked for where rules choose among them."""


@dataclass(frozen=True, slots=True)
class CandidatePool:
    """One row's ordered items to choose from: candidates first, then what the fallbacks add."""

    numbers: Numbers
    scores: Scores
    sources: tuple[str, ...]
    """Per item the fallback that added it; empty text for a candidate."""

    @classmethod
    def of(cls, scored: ScoredItems) -> CandidatePool:
        """The candidates in their order."""
        return cls(scored.numbers, scored.scores, ("",) * len(scored))

    def with_more(self, numbers: Numbers, source: str) -> CandidatePool:
        """The pool and these items behind it."""
        return CandidatePool(
            np.concatenate([self.numbers, numbers]),
            np.concatenate([self.scores, np.zeros(len(numbers), np.float32)]),
            self.sources + (source,) * len(numbers),
        )


@dataclass(frozen=True, slots=True)
class Fallback:
    """How the lists of a batch are filled. `asked` are the queries as the models see them."""

    bundle: Bundle
    asked: Sequence[Query]
    placement: Placement
    rules: RuleEngine
    eligible: Mask
    n: int

    def chosen(
        self, pools: Sequence[CandidatePool], journeys: Sequence[Suppression]
    ) -> list[tuple[CandidatePool, Choice]]:
        """Each row's pool and which of it make the list; shorter than n only where nothing that
        may be shown is left, or where the placement has no fallback."""
        pools = [self._with_pins(*row) for row in zip(pools, journeys, strict=True)]
        filled = [(pool, self.rules.choose(pool.numbers, self.n)) for pool in pools]
        self._lengthen(filled, journeys, may_give_way=False)
        short = [row for row, (_, choice) in enumerate(filled) if len(choice.places) < self.n]
        for row in short:
            pool = filled[row][0]
            filled[row] = (pool, self.rules.choose(pool.numbers, self.n, may_give_way=True))
        self._lengthen(filled, journeys, may_give_way=True)
        return filled

    def _lengthen(
        self,
        filled: list[tuple[CandidatePool, Choice]],
        journeys: Sequence[Suppression],
        *,
        may_give_way: bool,
    ) -> None:
        for name in (*self.placement.fallback, CATALOG) if self.placement.fallback else ():
            short = [
                row
                for row, (_, choice) in enumerate(filled)
                if len(choice.places) < self.n or (choice.wanting and not may_give_way)
            ]
            if not short:
                return
            if name != CATALOG and name not in self.bundle.models:
                continue
            taken = [self._taken(filled[row][0], journeys[row], may_give_way) for row in short]
            wanted = [mask for row in short for mask in filled[row][1].wanting]
            for row, scored, out in zip(
                short, self._retrieved(name, short, taken, wanted), taken, strict=True
            ):
                pool = filled[row][0]
                free = self._new_products(self._free(scored, out, journeys[row]), pool)
                pool = pool.with_more(free, name)
                choice = self.rules.choose(pool.numbers, self.n, may_give_way=may_give_way)
                filled[row] = (pool, choice)

    def _retrieved(
        self, name: str, rows: Sequence[int], taken: Sequence[Numbers], wanted: Sequence[Mask]
    ) -> list[ScoredItems]:
        """What a source puts forward for these rows; where quotas want something, that as well."""
        most = max(map(len, taken))
        n_fetch = (self.n if self.rules.take_the_best else BEYOND * self.n) + most
        found = self._asked(name, rows, n_fetch, self.eligible)
        if not wanted:
            return found
        matching = self.eligible & np.logical_or.reduce(wanted)
        more = self._asked(name, rows, self.n + most, matching)
        return [_joined(one, other) for one, other in zip(found, more, strict=True)]

    def _asked(self, name: str, rows: Sequence[int], n: int, eligible: Mask) -> list[ScoredItems]:
        if name == CATALOG:
            sellable = np.flatnonzero(eligible).astype(np.int32)
            if self.rules.families is None:
                sellable = sellable[:n]
            return [ScoredItems(sellable, np.zeros(len(sellable), np.float32))] * len(rows)
        scorer = self.bundle.models[name].condition([self.asked[row] for row in rows])
        return scorer.retrieve(n, eligible)

    def _free(self, scored: ScoredItems, taken: Numbers, suppression: Suppression) -> Numbers:
        """What is not taken of the items, in the order of score times factors."""
        free = ~np.isin(scored.numbers, taken)
        numbers = scored.numbers[free]
        if suppression.factors is None and not self.rules.boosts:
            return numbers
        scores = suppression.favoured(numbers, self.rules.boosted(numbers, scored.scores[free]))
        return numbers[np.argsort(-scores, kind="stable")]

    def _new_products(self, numbers: Numbers, pool: CandidatePool) -> Numbers:
        """The first variant of each product that the pool has none of."""
        families = self.rules.families
        if families is None:
            return numbers
        theirs = families[numbers]
        _, first = np.unique(theirs, return_index=True)
        first = np.sort(first)
        return numbers[first[~np.isin(theirs[first], families[pool.numbers])]]

    def _taken(self, pool: CandidatePool, suppression: Suppression, may_give_way: bool) -> Numbers:
        out = [suppression.hidden, pool.numbers]
        if not may_give_way:
            out.append(suppression.resting)
        return np.concatenate(out)

    def _with_pins(self, pool: CandidatePool, suppression: Suppression) -> CandidatePool:
        """The pool with the pinned items in it that may be shown."""
        out = {*pool.numbers.tolist(), *suppression.hidden.tolist()} if self.rules.pins else set()
        missing = [
            number for _, number in self.rules.pins if number not in out and self.eligible[number]
        ]
        return pool.with_more(np.array(missing, np.int32), PINNED) if missing else pool


def _joined(one: ScoredItems, other: ScoredItems) -> ScoredItems:
    new = ~np.isin(other.numbers, one.numbers)
    return ScoredItems(
        np.concatenate([one.numbers, other.numbers[new]]),
        np.concatenate([one.scores, other.scores[new]]),
    )
