"""iALS: unobserved pairs have a small weight; regularisation grows with a row's interactions.

Rendle, Krichene, Zhang, Koren: Revisiting the performance of iALS on item recommendation
benchmarks, RecSys 2022. Users are never stored: a query's history is folded in exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.linalg.lapack import dposv
from scipy.sparse import csr_array

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.ids import Array, Mask, Numbers
from recsys.models.factorisation.block_solver import Penalty, improve
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contributions, Scorer, short_repr
from recsys.models.scoring.decayed import binary_of
from recsys.models.scoring.dense_index import DenseIndex, index_arrays
from recsys.models.scoring.dense_scores import DenseScorer
from recsys.models.scoring.saved_arrays import array_of, setting_of
from recsys.models.scoring.sparse_scores import largest_first, shares
from recsys.models.search_space import Choice, Range
from recsys.query.history import History
from recsys.query.query import Query

Progress = Callable[[int, float], None]
"""Called after each epoch with its number, from 1, and the loss."""


class IALSConfig(BaseModel):
    """λ = `reg`, ν = `frequency_exponent`, α₀ = `unobserved_weight`.

    An interaction weighs what the data say (1 with `binary`) plus α₀, every other pair α₀. The
    ridge of a row is λ · (Σ weights + α₀ · n)^ν. Factors are improved `block` coordinates at a
    time; `block` = `embedding_size` is exact ALS, slower and no better. Threads change only time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedding_size: int = Field(default=128, ge=1, le=2048)
    reg: float = Field(default=0.1, gt=0)
    frequency_exponent: float = Field(default=0.5, ge=-1, le=2)
    unobserved_weight: float = Field(default=0.01, gt=0)
    epochs: int = Field(default=12, ge=1)
    block: int = Field(default=32, ge=1)
    binary: bool = False
    threads: int = Field(default=1, ge=1)


@dataclass(frozen=True, slots=True)
class IALSModel:
    """Item factors Y (items × embedding, float32), α₀YᵀY (float64), which items have a factor.

    A person is x = (α₀YᵀY + Yᵀ C Y + λ_u I)⁻¹ Yᵀ C 1 over the history, C = diag(weight);
    score(j) = x · y_j. No opinion without history, nor on items that nobody has touched (y = 0).
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    item_factors: NDArray[np.float32]
    gram: NDArray[np.float64]
    touched: Mask
    n_touched: int
    penalty: Penalty
    binary: bool
    index: DenseIndex | None = None
    """Index of the item vectors of a saved model; None scores every item."""

    @classmethod
    def of(cls, item_factors: NDArray[np.float32], *, penalty: Penalty, binary: bool) -> IALSModel:
        """The model of these item factors; α₀YᵀY is computed here, once."""
        wide = item_factors.astype(np.float64)
        gram = penalty.unobserved * (wide.T @ wide)
        touched = np.any(item_factors != 0, axis=1)
        n_touched = int(np.count_nonzero(touched))
        return cls(item_factors, gram, touched, n_touched, penalty, binary)

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Folds the histories in, some 60 µs each at 128 factors."""
        totals = [self._totals(query.history) for query in queries]
        vectors = np.zeros((len(queries), self.item_factors.shape[1]), np.float32)
        for row, (items, weights) in enumerate(totals):
            if len(items):
                vectors[row] = self.fold_in(items, weights)

        def contributions(row: int, item: int) -> Contributions:
            items, weights = totals[row]
            # x · y_j = Σ_i (y_jᵀ A⁻¹ y_i) c_i, a sum over the history.
            factors, matrix = self._normal_equation(items, weights)
            toward = _solved(matrix, self.item_factors[item].astype(np.float64))
            return largest_first(shares(items, weights * (factors @ toward), kind="history"))

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
        factors, matrix = self._normal_equation(items, weights)
        return _solved(matrix, factors.T @ weights.astype(np.float64))

    def _totals(self, history: History) -> tuple[Numbers, NDArray[np.float32]]:
        items, weights = history.totals()
        return items, np.ones_like(weights) if self.binary else weights

    def _normal_equation(
        self, items: Numbers, weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        factors = self.item_factors[items].astype(np.float64)
        matrix = self.gram + (factors.T * weights) @ factors
        total = weights[self.touched[items]].sum(dtype=np.float64)
        matrix.flat[:: len(matrix) + 1] += self.penalty.ridges(total, self.n_touched)
        return factors, matrix

    def arrays(self) -> Mapping[str, Array]:
        """The factors and the settings that the fold-in needs."""
        return {
            "item_factors": self.item_factors,
            "reg": np.array(self.penalty.ridge),
            "frequency_exponent": np.array(self.penalty.exponent),
            "unobserved_weight": np.array(self.penalty.unobserved),
            "binary": np.array(self.binary),
            **index_arrays(self.index, self.item_factors),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> IALSModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        penalty = Penalty(
            setting_of(arrays, "reg"),
            setting_of(arrays, "frequency_exponent"),
            setting_of(arrays, "unobserved_weight"),
        )
        factors = array_of(arrays, "item_factors", dimensions=2)
        model = cls.of(factors, penalty=penalty, binary=bool(setting_of(arrays, "binary")))
        return replace(model, index=DenseIndex.from_arrays(arrays))


def fit_ials(
    data: TrainingData,
    config: IALSConfig,
    *,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> IALSModel:
    """The item factors after `epochs` rounds over users and items; the same for the same seed.

    Memory: the interactions twice and the factors of users and items, no more.
    """
    by_user = binary_of(data.interactions) if config.binary else data.interactions
    by_item = csr_array(by_user.T.tocsr())
    n_users, n_items = by_user.shape
    penalty = Penalty(config.reg, config.frequency_exponent, config.unobserved_weight)
    scale = 0.1 / np.sqrt(config.embedding_size)
    items = rng.normal(0.0, scale, (n_items, config.embedding_size)).astype(np.float32)
    items[np.diff(by_item.indptr) == 0] = 0.0
    users = np.zeros((n_users, config.embedding_size), np.float32)
    counted_items = int(np.count_nonzero(np.diff(by_item.indptr)))
    counted_users = int(np.count_nonzero(np.diff(by_user.indptr)))
    for epoch in range(config.epochs):
        improve(
            users,
            by_user,
            items,
            penalty,
            n_columns=counted_items,
            block=config.block,
            threads=config.threads,
        )
        error = improve(
            items,
            by_item,
            users,
            penalty,
            n_columns=counted_users,
            block=config.block,
            threads=config.threads,
        )
        if progress is not None:
            around = _unobserved_loss(users, items, penalty)
            ridges = _ridge_loss(users, by_user, penalty, counted_items)
            ridges += _ridge_loss(items, by_item, penalty, counted_users)
            progress(epoch + 1, error + around + ridges)
    return IALSModel.of(items, penalty=penalty, binary=config.binary)


def _unobserved_loss(
    users: NDArray[np.float32], items: NDArray[np.float32], penalty: Penalty
) -> float:
    """α₀ Σ_ui (x_u · y_i)² = α₀ ⟨XᵀX, YᵀY⟩."""
    return penalty.unobserved * float(np.sum((users.T @ users) * (items.T @ items)))


def _ridge_loss(
    factors: NDArray[np.float32], observed: csr_array, penalty: Penalty, n_columns: int
) -> float:
    totals = np.asarray(observed.sum(axis=1), np.float64).ravel()
    return float(penalty.ridges(totals, n_columns) @ np.sum(factors**2, axis=1))


def _solved(matrix: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """A⁻¹ b by Cholesky; A is positive definite because the ridge is above zero."""
    _, solution, failed = dposv(matrix, right, lower=True)
    if failed:
        raise BundleError(
            f"iALS normal equations are not positive definite (LAPACK dposv says {failed}); "
            "the factors are damaged, rebuild the bundle."
        )
    return np.asarray(solution)


FAMILY: Final = ModelFamily(
    config=IALSConfig,
    fit=fit_ials,
    model=IALSModel,
    level="individual",
    labels={"en": "fits your taste", "nl": "past bij je smaak"},
    needs=frozenset({"history"}),
    search_space={
        "embedding_size": Choice((32, 64, 128)),
        "reg": Range(0.03, 100),
        "unobserved_weight": Range(0.003, 1),
        "frequency_exponent": Choice((0.0, 0.5, 1.0)),
    },
    random=True,
    paper=(
        "Rendle, Krichene, Zhang, Koren: Revisiting the performance of iALS on item recommendation "
        "benchmarks, RecSys 2022"
    ),
    helps="As als, where many interactions per customer make tuning it worth the time.",
)
