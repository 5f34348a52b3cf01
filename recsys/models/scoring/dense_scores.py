"""Scorers of factor models: a query is a vector, an item is a vector, the score their product."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.ids import Mask, Numbers, Scores
from recsys.kernels import best_of_all
from recsys.models.protocol import Contributions, ScoredItems
from recsys.models.scoring.dense_index import DenseIndex
from recsys.models.scoring.top_n import EMPTY

SCORES_AT_ONCE: Final = 4_000_000
"""Dense scores held at one time, which bounds the memory of a batch (4 bytes each)."""


class DenseScorer:
    """score(row, item) = query_vectors[row] · item_vectors[item] + biases[item].

    Rows where `has_opinion` is False have no score at all, items where `scored` is False none in
    any row. Vectors are float32. A single query is looked up in the index, where there is one.
    """

    def __init__(
        self,
        *,
        query_vectors: NDArray[np.float32],
        has_opinion: NDArray[np.bool_],
        item_vectors: NDArray[np.float32],
        biases: NDArray[np.float32] | None,
        index: DenseIndex | None,
        scored: Mask,
        contributions: Callable[[int, int], Contributions],
    ) -> None:
        self._queries = query_vectors
        self._has_opinion = has_opinion
        self._items = item_vectors
        self._biases = biases
        self._index = index
        self._scored = scored
        self._contributions = contributions

    def retrieve(self, n: int, eligible: Mask) -> list[ScoredItems]:
        """Each row's best n among the eligible items."""
        if n < 1:
            raise ValueError(f"n is {n}; it must be at least 1.")
        results = [EMPTY] * len(self._queries)
        if self._index is not None and len(self._queries) == 1:
            if self._has_opinion[0]:
                results[0] = self._searched(self._index, n, eligible)
            return results
        for rows in self._spans():
            scores = self._queries[rows] @ self._items.T
            if self._biases is not None:
                scores += self._biases
            for row, of_row in zip(rows.tolist(), scores, strict=True):
                results[row] = ScoredItems(*best_of_all(of_row, eligible, self._scored, n))
        return results

    def _searched(self, index: DenseIndex, n: int, eligible: Mask) -> ScoredItems:
        query = self._queries[0]
        best = index.best(query, self._items, self._biases, eligible, self._scored, n)
        return ScoredItems(*best)

    def score(self, items: Sequence[Numbers]) -> list[Scores]:
        """One score per item asked for; NaN without an opinion."""
        results: list[Scores] = []
        for row, numbers in enumerate(items):
            if not self._has_opinion[row]:
                results.append(np.full(len(numbers), np.nan, np.float32))
                continue
            scores = self._items[numbers] @ self._queries[row]
            if self._biases is not None:
                scores += self._biases[numbers]
            scores[~self._scored[numbers]] = np.nan
            results.append(scores)
        return results

    def explain(self, row: int, item: int) -> Contributions:
        """What made the score of an item in a row."""
        if not self._has_opinion[row] or not self._scored[item]:
            return ()
        return self._contributions(row, item)

    def _spans(self) -> Iterator[NDArray[np.intp]]:
        rows = np.flatnonzero(self._has_opinion)
        step = max(1, SCORES_AT_ONCE // max(1, len(self._scored)))
        for first in range(0, len(rows), step):
            yield rows[first : first + step]
