"""Scorers whose opinion covers few items per query: every row is sparse, absent is no opinion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.ids import NONE, Mask, Numbers, Scores
from recsys.kernels import looked_up
from recsys.models.protocol import Contribution, Contributions, ScoredItems
from recsys.models.scoring.top_n import EMPTY, top_n_of
from recsys.query.query import Query

ENTRIES_AT_ONCE: Final = 8_000_000
"""Scores held at one time, which bounds the memory of a batch (8 bytes each)."""


Row = tuple[Numbers, NDArray[np.float32]]
"""Items ascending and their scores."""


class SparseScorer:
    """A scorer over sparse rows that are computed in spans, and once only where they all fit.

    `rows_of(first, last)` gives the scores of those rows as a csr matrix (duplicates summed);
    `sizes` bounds the entries of each row; `contributions` explains one (row, item) that has a
    score.
    """

    def __init__(
        self,
        *,
        n_items: int,
        sizes: NDArray[np.int64],
        rows_of: Callable[[int, int], csr_array],
        contributions: Callable[[int, int], Contributions],
    ) -> None:
        self._n_items = n_items
        self._rows_of = rows_of
        self._contributions = contributions
        self._spans = _spans(np.minimum(sizes, n_items))
        self._n_rows = len(sizes)
        self._kept: csr_array | None = None

    def retrieve(self, n: int, eligible: Mask) -> list[ScoredItems]:
        """Each row's best n among the eligible items."""
        results: list[ScoredItems] = []
        allow = None if eligible.all() else eligible
        for matrix in self._matrices():
            starts = matrix.indptr.tolist()
            for first, last in pairwise(starts):
                if first == last:
                    results.append(EMPTY)
                    continue
                numbers, scores = matrix.indices[first:last], matrix.data[first:last]
                results.append(top_n_of(numbers, scores, n, allow=allow))
        return results

    def score(self, items: Sequence[Numbers]) -> list[Scores]:
        """One score per item asked for; NaN where a row has none."""
        results: list[Scores] = []
        dense = np.full(self._n_items, np.nan, np.float32)
        for matrix in self._matrices():
            starts = matrix.indptr.tolist()
            for first, last in pairwise(starts):
                numbers = matrix.indices[first:last]
                dense[numbers] = matrix.data[first:last]
                results.append(dense[items[len(results)]])
                dense[numbers] = np.nan
        return results

    def explain(self, row: int, item: int) -> Contributions:
        """What made the score of an item in a row."""
        matrix = self._kept if self._kept is not None else self._rows_of(row, row + 1)
        index = row if self._kept is not None else 0
        if item not in matrix.indices[matrix.indptr[index] : matrix.indptr[index + 1]]:
            return ()
        return self._contributions(row, item)

    def _matrices(self) -> Iterator[csr_array]:
        if len(self._spans) == 1:
            if self._kept is None:
                self._kept = self._rows_of(0, self._n_rows)
            yield self._kept
        else:
            for first, last in self._spans:
                yield self._rows_of(first, last)


class RowScorer:
    """A scorer over rows that are there already: items ascending and their scores, per query.

    Builds no matrix, which would be most of the cost of a single query.
    """

    def __init__(
        self,
        *,
        n_items: int,
        rows: Sequence[Row],
        contributions: Callable[[int, int], Contributions],
    ) -> None:
        self._n_items = n_items
        self._rows = rows
        self._contributions = contributions

    def retrieve(self, n: int, eligible: Mask) -> list[ScoredItems]:
        """Each row's best n among the eligible items."""
        return [top_n_of(numbers, scores, n, allow=eligible) for numbers, scores in self._rows]

    def score(self, items: Sequence[Numbers]) -> list[Scores]:
        """One score per item asked for; NaN where a row has none."""
        return [
            looked_up(numbers, scores, asked)
            for (numbers, scores), asked in zip(self._rows, items, strict=True)
        ]

    def explain(self, row: int, item: int) -> Contributions:
        """What made the score of an item in a row."""
        return self._contributions(row, item) if item in self._rows[row][0] else ()


def origins(query: Query, *, binary: bool) -> tuple[Numbers, NDArray[np.float32], str]:
    """What an item-to-item model starts from: the seeds where there are any, else the history.

    Distinct items ascending, their weights (1 for seeds, and for all where `binary`), and the kind
    of contribution that they make: `seed` or `history`.
    """
    if len(query.seeds):
        seeds = np.unique(query.seeds)
        return seeds, np.ones(len(seeds), np.float32), "seed"
    items, weights = query.history.totals()
    return items, np.ones(len(items), np.float32) if binary else weights, "history"


def stacked(rows: Sequence[tuple[Numbers, NDArray[np.float32]]], *, n_columns: int) -> csr_array:
    """Sparse rows (column numbers, values) as one csr matrix of float32."""
    starts = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(numbers) for numbers, _ in rows], out=starts[1:])
    columns = np.concatenate([numbers for numbers, _ in rows] or [NONE])
    values = np.concatenate([values for _, values in rows] or [np.empty(0, np.float32)])
    return csr_array((values, columns, starts), shape=(len(rows), n_columns), copy=False)


def without(matrix: csr_array, dropped: Sequence[Numbers]) -> csr_array:
    """The matrix with some columns of each row taken out; row r loses `dropped[r]`."""
    if not any(len(columns) for columns in dropped):
        return matrix
    starts = matrix.indptr
    kept = np.ones(len(matrix.indices), np.bool_)
    for row, columns in enumerate(dropped):
        if len(columns):
            span = slice(starts[row], starts[row + 1])
            kept[span] = ~np.isin(matrix.indices[span], columns)
    remaining = np.concatenate([[0], np.cumsum(kept)])[starts]
    return csr_array((matrix.data[kept], matrix.indices[kept], remaining), shape=matrix.shape)


def shares(items: Numbers, parts: NDArray[np.floating], *, kind: str) -> list[Contribution]:
    """Parts of a score as contributions of items: each over the sum of their sizes.

    So shares of positive parts sum to 1, and a part that lowers the score is negative. Parts
    of zero are left out.
    """
    total = float(np.abs(parts).sum())
    return [
        Contribution(kind, part / total, item=item)
        for item, part in zip(items.tolist(), parts.tolist(), strict=True)
        if part != 0
    ]


def largest_first(contributions: Sequence[Contribution]) -> Contributions:
    """The contributions, largest share first; equal shares keep their order."""
    return tuple(sorted(contributions, key=lambda contribution: -contribution.share))


def _spans(sizes: NDArray[np.int64]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    first, held = 0, 0
    for row, size in enumerate(sizes.tolist()):
        if row > first and held + size > ENTRIES_AT_ONCE:
            spans.append((first, row))
            first, held = row, 0
        held += size
    spans.append((first, len(sizes)))
    return spans
