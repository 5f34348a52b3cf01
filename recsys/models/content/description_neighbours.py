"""Nearest neighbours of items by description: cosine of their description vectors.

Widespread features (a department, a price class) make nearly every pair of items share something:
all cosines of a shop cost the square of its items. Candidates are therefore gathered from an item's
rarest features, up to a budget, and the cosine of each candidate is exact.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from scipy.sparse import csr_array

from recsys.ids import Array, Mask

MOST_POSTINGS: Final = 50_000
"""Budget of postings read per item; its rarest feature is always read."""


def description_neighbours(
    vectors: csr_array,
    *,
    wanted: Mask,
    allowed: Mask,
    n: int,
    least: float = 0.0,
    most_postings: int = MOST_POSTINGS,
) -> csr_array:
    """items × items, float32: each `wanted` item's n largest cosines with `allowed` ones.

    `vectors` are items × features of length 1, csr; an item's own cosine is left out, and so are
    those of 0 or below `least`. Ties go to the lower number. Exact where the features of an item
    have at most `most_postings` entries; else items with none of its rarest features are missed.
    """
    postings = csr_array(vectors.T.tocsr())
    rows = np.flatnonzero(wanted)
    items = np.empty((len(rows), n), np.int32)
    cosines = np.empty((len(rows), n), np.float32)
    counts = np.zeros(len(rows), np.int64)
    _search(
        vectors.indptr,
        vectors.indices,
        vectors.data,
        postings.indptr,
        postings.indices,
        rows,
        allowed,
        np.float32(least),
        most_postings,
        items,
        cosines,
        counts,
    )
    filled = np.arange(n) < counts[:, None]
    sizes = np.zeros(len(wanted), np.int32)
    sizes[rows] = counts
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    near = csr_array((cosines[filled], items[filled], starts), shape=(len(wanted), len(wanted)))
    near.sort_indices()
    return near


@njit(cache=True, nogil=True)
def _search(
    starts: Array,
    features: Array,
    values: Array,
    posting_starts: Array,
    posted: Array,
    rows: Array,
    allowed: Array,
    least: np.float32,
    most_postings: int,
    items: Array,
    cosines: Array,
    counts: Array,
) -> None:
    weights = np.zeros(len(posting_starts) - 1, np.float32)
    seen = np.full(len(allowed), -1, np.int64)
    n = items.shape[1]
    for row in range(len(rows)):
        begin, end = starts[rows[row]], starts[rows[row] + 1]
        query_features = features[begin:end]
        lengths = posting_starts[query_features + 1] - posting_starts[query_features]
        for entry in range(begin, end):
            weights[features[entry]] = values[entry]
        looked = 0
        for feature in query_features[np.argsort(lengths)]:
            first, last = posting_starts[feature], posting_starts[feature + 1]
            if looked and looked + last - first > most_postings:
                break
            looked += last - first
            for item in posted[first:last]:
                if seen[item] == row or not allowed[item] or item == rows[row]:
                    continue
                seen[item] = row
                cosine = np.float32(0.0)
                for entry in range(starts[item], starts[item + 1]):
                    cosine += values[entry] * weights[features[entry]]
                if cosine <= 0.0 or cosine < least:
                    continue
                # Insertion into the best so far: larger first, then the lower number.
                at = counts[row]
                while at > 0 and (
                    cosines[row, at - 1] < cosine
                    or (cosines[row, at - 1] == cosine and items[row, at - 1] > item)
                ):
                    at -= 1
                if at == n:
                    continue
                counts[row] = min(counts[row] + 1, n)
                for later in range(counts[row] - 1, at, -1):
                    items[row, later] = items[row, later - 1]
                    cosines[row, later] = cosines[row, later - 1]
                items[row, at] = item
                cosines[row, at] = cosine
        for feature in query_features:
            weights[feature] = 0.0
