"""Maximum inner product search: clusters of items with an upper bound in each.

An item y in the cluster of centroid c scores x · y = x · c + x · (y − c) ≤ x · c + ‖x‖ ‖y − c‖
(Cauchy-Schwarz). Within a cluster, farthest items first, the scan stops where the bound falls below
the n-th best score so far. Clusters are visited by descending x · c, which raises that score early.
The result is exact; above EXACT_BELOW items a query computes at most MOST_PRODUCTS products and may
miss items of the clusters with the lowest x · c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from recsys.ids import Array, Mask, Numbers
from recsys.kernels import NO_SCORES, PAIRS, best_of_pairs, read_only, tighten
from recsys.models.scoring.saved_arrays import array_of

INDEXED_FROM: Final = 5_000
"""Below so many items one matrix product is as fast."""
EXACT_BELOW: Final = 100_000
MOST_PRODUCTS: Final = 30_000
SAMPLE: Final = 40_000
ROUNDS: Final = 6
MOST_CLUSTERS: Final = 2048
ROWS_AT_ONCE: Final = 20_000
SLACK: Final = np.float32(1.0 + 1e-4)
"""The bound is computed in single precision."""


@dataclass(frozen=True, slots=True)
class DenseIndex:
    """Items by cluster, in each the farthest from its centroid first.

    `order` holds item numbers, `starts` the span of each cluster in it, `distances` ‖y − c‖ in the
    same order; `centroids` is clusters × size, float32. With biases, y is (vector, bias) and x is
    (query, 1).
    """

    centroids: NDArray[np.float32]
    starts: NDArray[np.int64]
    order: Numbers
    distances: NDArray[np.float32]

    @classmethod
    def of(
        cls, vectors: NDArray[np.float32], biases: NDArray[np.float32] | None = None
    ) -> DenseIndex:
        """The clusters of these items, the same for the same vectors (Lloyd's k-means)."""
        points = vectors if biases is None else np.hstack([vectors, biases[:, None]])
        rng = np.random.default_rng(len(points))
        n_clusters = int(np.clip(4 * np.sqrt(len(points)), 1, min(MOST_CLUSTERS, len(points))))
        sample = points[np.sort(rng.permutation(len(points))[:SAMPLE])]
        centroids = sample[rng.choice(len(sample), n_clusters, replace=False)].copy()
        for _ in range(ROUNDS):
            nearest, _ = _nearest(sample, centroids)
            sizes = np.bincount(nearest, minlength=n_clusters)
            by_cluster = np.argsort(nearest, kind="stable")
            filled = np.flatnonzero(sizes)
            sums = np.add.reduceat(sample[by_cluster], (np.cumsum(sizes) - sizes)[filled], axis=0)
            centroids[filled] = sums / sizes[filled, None]
        nearest, distances = _nearest(points, centroids)
        order = np.lexsort((-distances, nearest)).astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(np.bincount(nearest, minlength=n_clusters))])
        return cls(centroids, starts.astype(np.int64), order, distances[order])

    def best(
        self,
        query: NDArray[np.float32],
        vectors: NDArray[np.float32],
        biases: NDArray[np.float32] | None,
        eligible: Mask,
        scored: Mask,
        n: int,
        *,
        most: int | None = None,
    ) -> tuple[Numbers, NDArray[np.float32]]:
        """The n best eligible and scored items, best first.

        After `most` products the search ends, unless it has fewer than n items yet; None leaves
        that to the number of items.
        """
        if most is None:
            most = len(self.order) if len(self.order) <= EXACT_BELOW else MOST_PRODUCTS
        if biases is not None:
            query = np.append(query, np.float32(1.0))
        of_centroids = self.centroids @ query
        numbers, scores = _search(
            self.order,
            self.starts,
            self.distances,
            of_centroids,
            np.argsort(-of_centroids),
            np.float32(np.linalg.norm(query)) * SLACK,
            vectors,
            NO_SCORES if biases is None else biases,
            query,
            eligible,
            scored,
            n,
            most,
        )
        return best_of_pairs(numbers, scores, eligible, n)

    def arrays(self) -> Mapping[str, Array]:
        """The saved form, beside the arrays of the model that it belongs to."""
        return {
            "index_centroids": self.centroids,
            "index_starts": self.starts,
            "index_order": self.order,
            "index_distances": self.distances,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> DenseIndex | None:
        """The index that was saved; None where the model was saved without one."""
        if "index_order" not in arrays:
            return None
        return cls(
            array_of(arrays, "index_centroids", dimensions=2),
            array_of(arrays, "index_starts", dimensions=1, kind="i"),
            array_of(arrays, "index_order", dimensions=1, kind="i"),
            array_of(arrays, "index_distances", dimensions=1),
        )


def index_arrays(
    index: DenseIndex | None,
    vectors: NDArray[np.float32],
    biases: NDArray[np.float32] | None = None,
) -> Mapping[str, Array]:
    """The arrays of the index, made now where there is none yet; none at all for so few items that
    a product over all of them is as fast."""
    if index is None and len(vectors) >= INDEXED_FROM:
        index = DenseIndex.of(vectors, biases)
    return {} if index is None else index.arrays()


def _nearest(
    points: NDArray[np.float32], centroids: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The nearest centroid of each point and the distance to it."""
    half = 0.5 * (centroids * centroids).sum(axis=1)
    clusters = np.empty(len(points), np.intp)
    distances = np.empty(len(points), np.float32)
    for first in range(0, len(points), ROWS_AT_ONCE):
        span = points[first : first + ROWS_AT_ONCE]
        nearest = (span @ centroids.T - half).argmax(axis=1)
        clusters[first : first + len(span)] = nearest
        distances[first : first + len(span)] = np.linalg.norm(span - centroids[nearest], axis=1)
    return clusters, distances


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _product(vectors, number, query):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for d in range(vectors.shape[1]):
        total += vectors[number, d] * query[d]
    return total


_FLOATS = read_only(types.float32)
_NUMBERS = read_only(types.int32)
_INTEGERS = read_only(types.int64)
_MASK = read_only(types.bool_)


@njit(
    PAIRS(
        _NUMBERS,
        _INTEGERS,
        _FLOATS,
        _FLOATS,
        _INTEGERS,
        types.float32,
        types.Array(types.float32, 2, "C", readonly=True),
        _FLOATS,
        _FLOATS,
        _MASK,
        _MASK,
        types.int64,
        types.int64,
    ),
    cache=True,
    nogil=True,
)
def _search(  # type: ignore[no-untyped-def]
    order,
    starts,
    distances,
    of_centroids,
    visiting,
    norm,
    vectors,
    biases,
    query,
    eligible,
    scored,
    n,
    most,
):
    size = min(4 * n, len(order))
    numbers = np.empty(size, np.int32)
    best = np.empty(size, np.float32)
    count, products = 0, 0
    edge = np.float32(-np.inf)
    for cluster in visiting:
        if products >= most and count >= n:
            break
        centre = of_centroids[cluster]
        for position in range(starts[cluster], starts[cluster + 1]):
            if centre + norm * distances[position] < edge:
                break
            number = order[position]
            if not eligible[number] or not scored[number]:
                continue
            products += 1
            score = _product(vectors, number, query)
            if len(biases):
                score += biases[number]
            if not (score > edge):
                continue
            if count == size:
                edge = tighten(numbers, best, count, n)
                count = n
                if not (score > edge):
                    continue
            numbers[count] = number
            best[count] = score
            count += 1
    return numbers[:count], best[:count]
