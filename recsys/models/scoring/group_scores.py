"""Scorers whose opinion is one dense vector for all queries, or per group such as a country."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from recsys.ids import Mask, Numbers, Scores
from recsys.models.protocol import Contributions, ScoredItems
from recsys.models.scoring.top_n import EMPTY, top_n


class GroupScorer:
    """Queries of one group get the same scores; the group None has no opinion.

    `scores_of(group)` gives a score per item of the bundle, NaN without an opinion. Each group is
    computed once per call and not kept, so that memory does not grow with the batch.
    """

    def __init__(
        self,
        *,
        groups: Sequence[int | None],
        scores_of: Callable[[int], Scores],
        contributions: Callable[[int, int], Contributions],
    ) -> None:
        self._groups = groups
        self._scores_of = scores_of
        self._contributions = contributions

    def retrieve(self, n: int, eligible: Mask) -> list[ScoredItems]:
        """Each row's best n among the eligible items."""
        by_group: dict[int | None, ScoredItems] = {None: EMPTY}
        for group in self._groups:
            if group is not None and group not in by_group:
                by_group[group] = top_n(self._scores_of(group), n, allow=eligible)
        return [by_group[group] for group in self._groups]

    def score(self, items: Sequence[Numbers]) -> list[Scores]:
        """One score per item asked for; NaN where the group has no opinion."""
        results: list[Scores] = [np.empty(0, np.float32)] * len(items)
        rows_of: dict[int | None, list[int]] = {}
        for row, group in enumerate(self._groups):
            rows_of.setdefault(group, []).append(row)
        for group, rows in rows_of.items():
            scores = None if group is None else self._scores_of(group)
            for row in rows:
                numbers = items[row]
                results[row] = (
                    np.full(len(numbers), np.nan, np.float32) if scores is None else scores[numbers]
                )
        return results

    def explain(self, row: int, item: int) -> Contributions:
        """What made the score of an item in a row."""
        group = self._groups[row]
        if group is None or not np.isfinite(self._scores_of(group)[item]):
            return ()
        return self._contributions(row, item)


class RankedScorer:
    """The same scores for every query, ranked beforehand: `ranking` holds the items that have a
    score, best first."""

    def __init__(
        self, scores: Scores, ranking: Numbers, *, n_rows: int, contributions: Contributions
    ) -> None:
        self._scores = scores
        self._ranking = ranking
        self._n_rows = n_rows
        self._contributions = contributions

    def retrieve(self, n: int, eligible: Mask) -> list[ScoredItems]:
        """The best n among the eligible items, looked for no further than needed."""
        if n < 1:
            raise ValueError(f"n is {n}; it must be at least 1.")
        reach = 2 * n
        while True:
            best = self._ranking[:reach]
            best = best[eligible[best]][:n]
            if len(best) == n or reach >= len(self._ranking):
                return [ScoredItems(best, self._scores[best])] * self._n_rows
            reach *= 4

    def score(self, items: Sequence[Numbers]) -> list[Scores]:
        """One score per item asked for; NaN without an opinion."""
        return [self._scores[numbers] for numbers in items]

    def explain(self, row: int, item: int) -> Contributions:
        """What made the score of an item: what everybody does."""
        return self._contributions if np.isfinite(self._scores[item]) else ()
