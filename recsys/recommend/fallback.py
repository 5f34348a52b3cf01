"""Fallback chain: fills short lists from the fallback models of a placement, then the catalogue.

Two rounds over the same sources. In the first every rule holds and suppressed items stay out; it
goes on until the list is full and each quota has its minimum. In the second, for lists that are
still short, diversity, the maxima of quotas and suppression are relaxed. Filters, exclusions,
stock, pins and the minima of quotas hold in both.
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
from recsys.recommend.diversity_and_quotas import Selection
from recsys.recommend.rule_engine import ListLimits, RuleEngine
from recsys.recommend.suppression import Suppression

OVERFETCH: Final = 5
"""A fallback model is asked for n times as many items where rules select among them."""


@dataclass(frozen=True, slots=True)
class CandidatePool:
    """The ordered items that one list is selected from: candidates first, fallback items after."""

    numbers: Numbers
    scores: Scores
    sources: tuple[str, ...]
    """Per item the fallback that added it; empty for a candidate."""

    @classmethod
    def of(cls, scored: ScoredItems) -> CandidatePool:
        """The candidates in their order."""
        return cls(scored.numbers, scored.scores, ("",) * len(scored))

    def __repr__(self) -> str:
        fallbacks = [source for source in dict.fromkeys(self.sources) if source]
        return f"CandidatePool({len(self.numbers)} items, fallbacks={fallbacks})"

    def extended(self, numbers: Numbers, source: str) -> CandidatePool:
        """The pool followed by these items of a fallback, whose scores are 0."""
        return CandidatePool(
            np.concatenate([self.numbers, numbers]),
            np.concatenate([self.scores, np.zeros(len(numbers), np.float32)]),
            self.sources + (source,) * len(numbers),
        )


@dataclass(frozen=True, slots=True)
class Fallback:
    """Fills the lists of a batch; `queries` are as the models get them, `n` is the length."""

    bundle: Bundle
    queries: Sequence[Query]
    placement: Placement
    limits: ListLimits
    n: int

    @property
    def rules(self) -> RuleEngine:
        """The rules in force."""
        return self.limits.rules

    def fill(
        self, pools: Sequence[CandidatePool], suppressions: Sequence[Suppression]
    ) -> list[tuple[CandidatePool, Selection]]:
        """Per query the extended pool and the selection from it.

        Shorter than n only where nothing that may be shown is left, or where the placement has no
        fallback.
        """
        pools = [self._with_pins(*row) for row in zip(pools, suppressions, strict=True)]
        lists = [(pool, self.rules.select(pool.numbers, self.n)) for pool in pools]
        self._extend(lists, suppressions, relax=False)
        for row, (pool, selection) in enumerate(lists):
            if len(selection.indices) < self.n or selection.unmet_quotas:
                lists[row] = (pool, self.rules.select(pool.numbers, self.n, relax=True))
        self._extend(lists, suppressions, relax=True)
        return lists

    def _extend(
        self,
        lists: list[tuple[CandidatePool, Selection]],
        suppressions: Sequence[Suppression],
        *,
        relax: bool,
    ) -> None:
        """Extends the pools of the lists that are short, in place, source by source."""
        for source in (*self.placement.fallback, CATALOG) if self.placement.fallback else ():
            short = [
                row
                for row, (_, selection) in enumerate(lists)
                if len(selection.indices) < self.n or (selection.unmet_quotas and not relax)
            ]
            if not short:
                return
            if source != CATALOG and source not in self.bundle.models:
                continue
            unavailable = [
                _unavailable(lists[row][0], suppressions[row], relax=relax) for row in short
            ]
            unmet = [mask for row in short for mask in lists[row][1].unmet_quotas]
            retrieved = self._retrieve(source, short, max(map(len, unavailable)), unmet)
            for row, scored, out in zip(short, retrieved, unavailable, strict=True):
                pool = lists[row][0]
                numbers = self._available(scored, out, suppressions[row])
                unmet_here = lists[row][1].unmet_quotas
                pool = pool.extended(self._one_per_group(numbers, pool, unmet_here), source)
                lists[row] = (pool, self.rules.select(pool.numbers, self.n, relax=relax))

    def _retrieve(
        self, source: str, rows: Sequence[int], n_unavailable: int, unmet: Sequence[Mask]
    ) -> list[ScoredItems]:
        """The items of a source for these rows, those that match each unmet quota among them."""
        n_fetch = self.n * (OVERFETCH if self.rules.has_list_rules else 1) + n_unavailable
        best = self._best(source, rows, n_fetch, self.limits.eligible)
        for mask in {id(mask): mask for mask in unmet}.values():
            matching = self.limits.eligible & mask
            more = self._best(source, rows, self.n + n_unavailable, matching)
            best = [_merged(*row) for row in zip(best, more, strict=True)]
        return best

    def _best(self, source: str, rows: Sequence[int], n: int, eligible: Mask) -> list[ScoredItems]:
        if source == CATALOG:
            sellable = np.flatnonzero(eligible).astype(np.int32)
            if not (self.rules.quotas or self.rules.caps):
                sellable = sellable[:n]
            return [ScoredItems(sellable, np.zeros(len(sellable), np.float32))] * len(rows)
        scorer = self.bundle.models[source].condition([self.queries[row] for row in rows])
        return scorer.retrieve(n, eligible)

    def _available(
        self, scored: ScoredItems, unavailable: Numbers, suppression: Suppression
    ) -> Numbers:
        """The other items, by their score times all factors."""
        available = ~np.isin(scored.numbers, unavailable)
        numbers = scored.numbers[available]
        if suppression.factors is None and not self.rules.boosts:
            return numbers
        scores = self.rules.boosted(numbers, scored.scores[available])
        return numbers[np.argsort(-suppression.boosted(numbers, scores), kind="stable")]

    def _one_per_group(
        self, numbers: Numbers, pool: CandidatePool, unmet: Sequence[Mask]
    ) -> Numbers:
        """The first variant of each item group that is not in the pool yet, and all variants that
        match an unmet quota: of a group in the pool another variant may be the one that does."""
        item_groups = self.rules.item_groups
        if item_groups is None:
            return numbers
        groups = item_groups[numbers]
        _, first = np.unique(groups, return_index=True)
        first = first[~np.isin(groups[first], item_groups[pool.numbers])]
        needed = [np.flatnonzero(mask[numbers]) for mask in unmet]
        kept: Numbers = numbers[np.unique(np.concatenate([first, *needed]))]
        return kept

    def _with_pins(self, pool: CandidatePool, suppression: Suppression) -> CandidatePool:
        """The pool and the pinned items that may be shown and are not in it."""
        if not self.rules.pins:
            return pool
        out = {*pool.numbers.tolist(), *suppression.excluded.tolist()}
        missing = [
            number
            for _, number in self.rules.pins
            if number not in out and self.limits.eligible[number]
        ]
        return pool.extended(np.array(missing, np.int32), PINNED) if missing else pool


def _unavailable(pool: CandidatePool, suppression: Suppression, *, relax: bool) -> Numbers:
    """Items that a fallback must not add: excluded, in the pool or, not relaxed, suppressed."""
    parts = [suppression.excluded, pool.numbers]
    return np.concatenate(parts if relax else [*parts, suppression.suppressed])


def _merged(first: ScoredItems, second: ScoredItems) -> ScoredItems:
    """The first items, then those of the second that are new."""
    new = ~np.isin(second.numbers, first.numbers)
    return ScoredItems(
        np.concatenate([first.numbers, second.numbers[new]]),
        np.concatenate([first.scores, second.scores[new]]),
    )
