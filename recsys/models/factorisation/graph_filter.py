"""An ideal low-pass filter on the user-item graph: a history projected on smooth signals.

Shen, Wu, Zhang, Shan, Zhang, Letaief, Li: How powerful is graph convolution for recommendation?,
CIKM 2021 (GF-CF, its low-pass part). A random walk is the linear filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array, diags_array
from threadpoolctl import threadpool_limits

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.ids import Array, Mask, Numbers
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contributions, Scorer, short_repr
from recsys.models.scoring.decayed import binary_of
from recsys.models.scoring.dense_index import DenseIndex, index_arrays
from recsys.models.scoring.dense_scores import DenseScorer
from recsys.models.scoring.saved_arrays import array_of, setting_of
from recsys.models.scoring.sparse_scores import largest_first, shares
from recsys.models.search_space import Choice
from recsys.query.query import Query

OVERSAMPLING: Final = 32
"""Extra directions of the subspace iteration, for the accuracy of the last ones kept."""


class GraphFilterConfig(BaseModel):
    """The `frequencies` lowest frequencies pass unchanged, the others not at all.

    More are better on sparse shops and slower to score: 128 of them cost about 4 ms at 100k items.
    `popularity` p multiplies the score of item j by d_j^p, d its degree: .5 undoes the
    normalisation, less plays popular items down. `rounds` of subspace iteration find the basis.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    frequencies: int = Field(default=128, ge=1, le=2048)
    popularity: float = Field(default=0.5, ge=0, le=1)
    rounds: int = Field(default=4, ge=1)
    binary: bool = True
    threads: int = Field(default=1, ge=1)


@dataclass(frozen=True, slots=True)
class GraphFilterModel:
    """score(j) = x · q_j, x = Σ_i w_i h_i over the history; h = D^−½ V, q = D^p V.

    V holds the leading right singular vectors of Du^−½ R Di^−½. Both (`history_vectors`,
    `item_vectors`) are float32, 0 for items that nobody has touched: on those no opinion.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    item_vectors: NDArray[np.float32]
    history_vectors: NDArray[np.float32]
    touched: Mask
    binary: bool
    index: DenseIndex | None = None
    """Index of the item vectors of a saved model; None scores every item."""

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Adds up the vectors of the histories."""
        totals = [self._weighed(query) for query in queries]
        vectors = np.zeros((len(queries), self.item_vectors.shape[1]), np.float32)
        for row, (items, weights) in enumerate(totals):
            vectors[row] = weights @ self.history_vectors[items]

        def contributions(row: int, item: int) -> Contributions:
            items, weights = totals[row]
            parts = weights * (self.history_vectors[items] @ self.item_vectors[item])
            return largest_first(shares(items, parts, kind="history"))

        return DenseScorer(
            query_vectors=vectors,
            has_opinion=np.any(vectors != 0, axis=1),
            item_vectors=self.item_vectors,
            biases=None,
            index=self.index,
            scored=self.touched,
            contributions=contributions,
        )

    def _weighed(self, query: Query) -> tuple[Numbers, NDArray[np.float32]]:
        items, weights = query.history.totals()
        return items, np.ones_like(weights) if self.binary else weights

    def arrays(self) -> Mapping[str, Array]:
        """The vectors and the one setting."""
        return {
            "item_vectors": self.item_vectors,
            "history_vectors": self.history_vectors,
            "binary": np.array(self.binary),
            **index_arrays(self.index, self.item_vectors),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> GraphFilterModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        item_vectors = array_of(arrays, "item_vectors", dimensions=2)
        history_vectors = array_of(arrays, "history_vectors", dimensions=2)
        if item_vectors.shape != history_vectors.shape:
            raise BundleError(
                f"Arrays 'item_vectors' and 'history_vectors' are {item_vectors.shape} and "
                f"{history_vectors.shape}; rebuild the bundle."
            )
        touched = np.any(item_vectors != 0, axis=1)
        return cls(
            item_vectors,
            history_vectors,
            touched,
            bool(setting_of(arrays, "binary")),
            DenseIndex.from_arrays(arrays),
        )


def fit_graph_filter(
    data: TrainingData, config: GraphFilterConfig, *, rng: np.random.Generator
) -> GraphFilterModel:
    """The leading singular vectors by randomised subspace iteration; the same for the same seed.

    Fewer frequencies than asked for where there are fewer users or items. Memory: some four times
    items × frequencies and users × frequencies, never users × items.
    """
    matrix = binary_of(data.interactions) if config.binary else data.interactions
    of_items = np.asarray(matrix.sum(axis=0), np.float64).ravel()
    of_users = np.asarray(matrix.sum(axis=1), np.float64).ravel()
    inverse = _power(of_items, -0.5)
    normal = csr_array(diags_array(_power(of_users, -0.5)) @ matrix @ diags_array(inverse))
    touched = of_items > 0
    with threadpool_limits(config.threads, "blas"):
        basis = leading_vectors(normal, config.frequencies, rounds=config.rounds, rng=rng)
    basis[~touched] = 0.0
    return GraphFilterModel(
        basis * _power(of_items, config.popularity)[:, None],
        basis * inverse[:, None],
        touched,
        config.binary,
    )


def leading_vectors(
    matrix: csr_array, n: int, *, rounds: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The n leading right singular vectors, columns × n; fewer where the matrix has fewer.

    Halko, Martinsson, Tropp: Finding structure with randomness, SIAM Review 2011, algorithm 4.4.
    """
    n_wide = min(n + OVERSAMPLING, *matrix.shape)
    back = csr_array(matrix.T.tocsr())
    wide = rng.normal(size=(matrix.shape[1], n_wide)).astype(np.float32)
    for _ in range(rounds):
        wide, _ = np.linalg.qr(back @ (matrix @ wide))
    image = matrix @ wide
    values, turn = np.linalg.eigh((image.T @ image).astype(np.float64))
    best = np.argsort(-values, kind="stable")[: min(n, n_wide)]
    return np.ascontiguousarray(wide @ turn[:, best].astype(np.float32))


def _power(degrees: NDArray[np.float64], exponent: float) -> NDArray[np.float32]:
    """degrees^exponent, 0 where the degree is 0."""
    out = np.zeros_like(degrees)
    np.power(degrees, exponent, out=out, where=degrees > 0)
    return out.astype(np.float32)


FAMILY: Final = ModelFamily(
    config=GraphFilterConfig,
    fit=fit_graph_filter,
    model=GraphFilterModel,
    level="individual",
    labels={"en": "fits the tastes that you share", "nl": "past bij de smaken die je deelt"},
    needs=frozenset({"history"}),
    search_space={
        "frequencies": Choice((128, 256, 512)),
        "popularity": Choice((0.3, 0.5)),
    },
    random=True,
    paper=(
        "Shen, Wu, Zhang, Shan, Zhang, Letaief, Li: How powerful is graph convolution for "
        "recommendation?, CIKM 2021"
    ),
    helps="Dense histories, beside a random walk in a blend.",
)
