"""Item-to-item models: each item's heaviest neighbours, and a query that sums over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from recsys.ids import NONE, Array, Numbers
from recsys.models.protocol import Contributions, Scorer, short_repr
from recsys.models.scoring.neighbour_kernel import weighted_rows
from recsys.models.scoring.saved_arrays import setting_of, sparse_arrays, square_of
from recsys.models.scoring.sparse_scores import (
    Row,
    RowScorer,
    SparseScorer,
    largest_first,
    origins,
    shares,
    stacked,
    without,
)
from recsys.models.scoring.top_n import top_n_of
from recsys.query.query import Query

MULTIPLICATIONS_AT_ONCE: Final = 20_000_000
"""Bounds the entries of one block of an item × item product before it is pruned."""


@dataclass(frozen=True, slots=True)
class NeighbourModel:
    """score(j) = Σ_i q_i · W_ij, where q are the seeds if the query has any, else its history.

    `weights` is W, items × items, csr float32, positive; `binary` ignores how much each history
    item weighs. A seed gets no score itself; a history item may.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    weights: csr_array
    binary: bool

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Gathers the rows of the query's items."""
        n_items = self.weights.shape[0]
        starting = [origins(query, binary=self.binary) for query in queries]

        def contributions(row: int, item: int) -> Contributions:
            items, values, kind = starting[row]
            parts = values * column(self.weights, items, item)
            return largest_first(shares(items, parts, kind=kind))

        if len(queries) == 1:
            return RowScorer(
                n_items=n_items, rows=[self._row(*starting[0])], contributions=contributions
            )
        left = stacked([(items, values) for items, values, _ in starting], n_columns=n_items)
        dropped = [items if kind == "seed" else NONE for items, _, kind in starting]

        def rows_of(first: int, last: int) -> csr_array:
            chosen = left if last - first == len(queries) else left[first:last]
            return without(chosen @ self.weights, dropped[first:last])

        return SparseScorer(
            n_items=n_items,
            sizes=work(left, self.weights),
            rows_of=rows_of,
            contributions=contributions,
        )

    def _row(self, items: Numbers, values: NDArray[np.float32], kind: str) -> Row:
        """What `rows_of` gives for one query, without building a matrix."""
        return weighted_rows(self.weights, items, values, without=items if kind == "seed" else NONE)

    def arrays(self) -> Mapping[str, Array]:
        """The matrix and the one setting."""
        return {**sparse_arrays("weights", self.weights), "binary": np.array(self.binary)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> NeighbourModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        return cls(square_of(arrays, "weights"), bool(setting_of(arrays, "binary")))


def neighbours(
    blocks: Callable[[int, int], csr_array],
    spans: Sequence[tuple[int, int]],
    *,
    n: int | None,
    keep_self: bool,
) -> csr_array:
    """The matrix made of `blocks(first, last)` for each span of rows, pruned to n entries a row.

    Only the entries above zero count; ties at the edge go to the lower number, so that the matrix
    does not depend on how it was cut. n None keeps all.
    """
    n_items = spans[-1][1] if spans else 0
    pruned = [_pruned(blocks(first, last), first, n, keep_self) for first, last in spans]
    if not pruned:
        return csr_array((n_items, n_items), dtype=np.float32)
    return csr_array(vstack(pruned, format="csr"))


def product_spans(left: csr_array, right: csr_array) -> list[tuple[int, int]]:
    """Spans of the rows of left @ right, each of bounded work and memory."""
    return list(_cut(work(left, right)))


def work(left: csr_array, right: csr_array) -> NDArray[np.int64]:
    """Multiplications per row of left @ right, which bounds the entries of that row."""
    lengths = right.indptr[left.indices + 1] - right.indptr[left.indices]
    total = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return np.asarray(np.diff(total[left.indptr]))


def column(matrix: csr_array, rows: NDArray[np.int32], item: int) -> NDArray[np.float32]:
    """The entries (row, item) for some rows; 0 where there is none."""
    values = np.zeros(len(rows), np.float32)
    for index, row in enumerate(rows.tolist()):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        matches = np.flatnonzero(matrix.indices[span] == item)
        if len(matches):
            values[index] = matrix.data[span][matches[0]]
    return values


def _cut(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    first, held = 0, 0
    for row, size in enumerate(sizes.tolist()):
        if row > first and held + size > MULTIPLICATIONS_AT_ONCE:
            yield first, row
            first, held = row, 0
        held += size
    if len(sizes):
        yield first, len(sizes)


def _pruned(block: csr_array, first: int, n: int | None, keep_self: bool) -> csr_array:
    starts = block.indptr.tolist()
    rows = []
    for index, (start, end) in enumerate(pairwise(starts)):
        items, values = block.indices[start:end], block.data[start:end]
        kept = values > 0
        if not keep_self:
            kept &= items != first + index
        items, values = items[kept].astype(np.int32), values[kept]
        if n is not None and len(items) > n:
            best = top_n_of(items, values, n)
            items, values = best.numbers, best.scores
        rows.append((items, values.astype(np.float32, copy=False)))
    matrix = stacked(rows, n_columns=block.shape[1])
    matrix.sort_indices()
    return matrix
