"""Matrix factorisation by alternating least squares; a query's history is folded in exactly.

Hu, Koren, Volinsky: Collaborative filtering for implicit feedback datasets, ICDM 2008. The item
factors are fitted by `implicit`; users are never stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.linalg.lapack import dposv
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.extras import optional_packages
from recsys.ids import Array, Mask, Numbers
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contributions, Scorer, short_repr
from recsys.models.scoring.dense_index import DenseIndex, index_arrays
from recsys.models.scoring.dense_scores import DenseScorer
from recsys.models.scoring.saved_arrays import array_of, setting_of
from recsys.models.scoring.sparse_scores import largest_first, shares
from recsys.models.search_space import Choice, Range
from recsys.query.query import Query


class ALSConfig(BaseModel):
    """Confidence of an interaction of weight w is alpha · w, of every other pair 1.

    More threads fit faster and give the same factors: each row is solved by itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedding_size: int = Field(default=64, ge=1, le=1024)
    reg: float = Field(default=5.0, gt=0)
    alpha: float = Field(default=1.0, gt=0)
    epochs: int = Field(default=15, ge=1)
    threads: int = Field(default=1, ge=1)


@dataclass(frozen=True, slots=True)
class ALSModel:
    """Item factors Y (items × embedding, float32), YᵀY (float64), which items have a factor.

    A person is x = (YᵀY + Yᵀ(C−I)Y + λI)⁻¹ Yᵀ C p over the history, C = diag(alpha · weight);
    score(j) = x · y_j. No opinion without history, nor on items that nobody has touched (y = 0).
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    item_factors: NDArray[np.float32]
    gram: NDArray[np.float64]
    touched: Mask
    alpha: float
    reg: float
    index: DenseIndex | None = None
    """Index of the item vectors of a saved model; None scores every item."""

    @classmethod
    def of(cls, item_factors: NDArray[np.float32], *, alpha: float, reg: float) -> ALSModel:
        """The model of these item factors; YᵀY is computed here, once."""
        wide = item_factors.astype(np.float64)
        return cls(item_factors, wide.T @ wide, np.any(item_factors != 0, axis=1), alpha, reg)

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Folds the histories in, some 50 µs each at 64 factors."""
        totals = [query.history.totals() for query in queries]
        vectors = np.zeros((len(queries), self.item_factors.shape[1]), np.float32)
        for row, (items, weights) in enumerate(totals):
            if len(items):
                vectors[row] = self.fold_in(items, weights)

        def contributions(row: int, item: int) -> Contributions:
            items, weights = totals[row]
            # Hu et al. §5: x · y_j = Σ_i (y_jᵀ A⁻¹ y_i) c_i, a sum over the history.
            factors = self.item_factors[items].astype(np.float64)
            confidences = self.alpha * weights.astype(np.float64)
            target = self.item_factors[item].astype(np.float64)
            weighted = _solved(self._normal_matrix(factors, confidences), target)
            return largest_first(shares(items, confidences * (factors @ weighted), kind="history"))

        return DenseScorer(
            query_vectors=vectors,
            has_opinion=np.any(vectors != 0, axis=1),
            item_vectors=self.item_factors,
            biases=None,
            index=self.index,
            scored=self.touched,
            contributions=contributions,
        )

    def fold_in(self, items: Numbers, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """The vector x of a person with these distinct items at these positive weights."""
        factors = self.item_factors[items].astype(np.float64)
        confidences = self.alpha * weights.astype(np.float64)
        return _solved(self._normal_matrix(factors, confidences), factors.T @ confidences)

    def _normal_matrix(
        self, factors: NDArray[np.float64], confidences: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        matrix = self.gram + (factors.T * (confidences - 1.0)) @ factors
        matrix.flat[:: len(matrix) + 1] += self.reg
        return matrix

    def arrays(self) -> Mapping[str, Array]:
        """The factors and the two settings that the fold-in needs."""
        return {
            "item_factors": self.item_factors,
            "alpha": np.array(self.alpha),
            "reg": np.array(self.reg),
            **index_arrays(self.index, self.item_factors),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> ALSModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        factors = array_of(arrays, "item_factors", dimensions=2)
        model = cls.of(factors, alpha=setting_of(arrays, "alpha"), reg=setting_of(arrays, "reg"))
        return replace(model, index=DenseIndex.from_arrays(arrays))


def fit_als(data: TrainingData, config: ALSConfig, *, rng: np.random.Generator) -> ALSModel:
    """The item factors that `implicit` finds; the same for the same seed."""
    # Imported here, so that a service which only answers does not load the solver.
    with optional_packages("fit_als"):
        from implicit.cpu.als import AlternatingLeastSquares

    with threadpool_limits(1, "blas"):
        solver = AlternatingLeastSquares(
            factors=config.embedding_size,
            regularization=config.reg,
            alpha=config.alpha,
            iterations=config.epochs,
            num_threads=config.threads,
            random_state=int(rng.integers(2**31)),
        )
        solver.fit(csr_matrix(data.interactions), show_progress=False)
    return ALSModel.of(np.asarray(solver.item_factors), alpha=config.alpha, reg=config.reg)


def _solved(matrix: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """A⁻¹ b by Cholesky; A is positive definite because every confidence is above zero."""
    _, solution, failed = dposv(matrix, right, lower=True)
    if failed:
        raise BundleError(
            f"ALS normal equations are not positive definite (LAPACK dposv says {failed}); "
            "the factors are damaged, rebuild the bundle."
        )
    return np.asarray(solution)


FAMILY: Final = ModelFamily(
    config=ALSConfig,
    fit=fit_als,
    model=ALSModel,
    level="individual",
    labels={"en": "fits your taste", "nl": "past bij je smaak"},
    needs=frozenset({"history"}),
    search_space={
        "embedding_size": Choice((32, 64, 128)),
        "reg": Range(0.3, 100),
        "alpha": Range(0.3, 40),
    },
    random=True,
    paper="Hu, Koren, Volinsky: Collaborative filtering for implicit feedback datasets, ICDM 2008",
    helps="Customers with a dozen interactions or more, beside neighbours in a blend.",
)
