"""Random walks item → user → item: P3 and RP3β, pruned to each item's likeliest ends.

Paudel, Christoffel, Newell, Bernstein: Updatable, accurate, diverse, and scalable recommendations
for interactive applications, ACM TiiS 2017. On sparse shops this beats matrix factorisation.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array, diags_array

from recsys.dataset.training_data import TrainingData
from recsys.models.family import ModelFamily
from recsys.models.scoring.decayed import binary_of, decayed_interactions
from recsys.models.scoring.neighbours import NeighbourModel, neighbours, product_spans
from recsys.models.search_space import Choice, Range

LEAST_SUM: Final = 1e-30
"""Rows with a smaller sum of weights have no outgoing step (its inverse would overflow float32)."""


class RandomWalkConfig(BaseModel):
    """P3 with `alpha` 1 and `beta` 0; RP3β with `beta` above 0 penalises popular items.

    `neighbours` None keeps every end of a walk. `half_life_days` replaces the decay of the
    interactions in the first step, `target_half_life_days` in the last step, so that walks end at
    recently bought items.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    neighbours: int | None = Field(default=100, ge=1)
    alpha: float = Field(default=1.0, gt=0)
    beta: float = Field(default=0.1, ge=0)
    binary: bool = False
    keep_self: bool = False
    half_life_days: float | None = Field(default=None, gt=0)
    target_half_life_days: float | None = Field(default=None, gt=0)


def fit_random_walk(
    data: TrainingData, config: RandomWalkConfig, *, rng: np.random.Generator
) -> NeighbourModel:
    """W = (Di⁻¹ Rᵀ)^α (Du⁻¹ R)^α Dp^−β: the chance to end at j from i, over the popularity of j.

    R is users × items, Di and Du its column and row sums, Dp the number of users of an item.
    Computed in blocks of rows: memory grows with interactions and with what is kept.
    """
    del rng
    out = _matrix(data, config.half_life_days, config.binary)
    back = _matrix(data, config.target_half_life_days, config.binary)
    to_users = _powered(_stepping(csr_array(out.T.tocsr())), config.alpha)
    users = np.bincount(data.interactions.indices, minlength=len(data.items))
    penalty = np.maximum(users, 1).astype(np.float64) ** -config.beta
    to_items = csr_array(
        _powered(_stepping(back), config.alpha) @ diags_array(penalty.astype(np.float32))
    )
    weights = neighbours(
        lambda first, last: to_users[first:last] @ to_items,
        product_spans(to_users, to_items),
        n=config.neighbours,
        keep_self=config.keep_self,
    )
    return NeighbourModel(weights, config.binary)


def _matrix(data: TrainingData, half_life_days: float | None, binary: bool) -> csr_array:
    if half_life_days is None:
        matrix = data.interactions
    else:
        matrix = decayed_interactions(data, half_life_days=half_life_days)
    return binary_of(matrix) if binary else matrix


def _stepping(matrix: csr_array) -> csr_array:
    """Rows divided by their sums: where a walk goes from each row; empty rows and those that have
    decayed to nothing (LEAST_SUM) are left by nobody."""
    sums: NDArray[np.float64] = np.asarray(matrix.sum(axis=1), np.float64).ravel()
    inverse = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > LEAST_SUM)
    return csr_array(diags_array(inverse.astype(np.float32)) @ matrix)


def _powered(matrix: csr_array, exponent: float) -> csr_array:
    return matrix if exponent == 1.0 else csr_array(matrix.power(exponent))


FAMILY: Final = ModelFamily(
    config=RandomWalkConfig,
    fit=fit_random_walk,
    model=NeighbourModel,
    level="individual",
    labels={"en": "people with your taste chose it", "nl": "gekozen door mensen met jouw smaak"},
    needs=frozenset({"history", "seeds"}),
    search_space={
        "neighbours": Choice((50, 100, 200, 400)),
        "alpha": Range(0.6, 1.4, log=False),
        "beta": Range(0.0, 0.9, log=False),
        "half_life_days": Choice((None, 30, 60, 120, 240)),
        "target_half_life_days": Choice((None, 7, 14, 30, 60, 120)),
        "binary": Choice((False, True)),
    },
    scores_seeds=False,
    paper=(
        "Paudel, Christoffel, Newell, Bernstein: Updatable, accurate, diverse, and scalable "
        "recommendations for interactive applications, ACM TiiS 2017"
    ),
    helps="The first personal family to try: strong on sparse shops, and works on item pages.",
)
