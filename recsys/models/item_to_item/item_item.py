"""Item-to-item cosine over the columns of the interactions.

Sarwar, Karypis, Konstan, Riedl: Item-based collaborative filtering recommendation algorithms,
WWW 2001. Shrinkage lowers the similarity of pairs with few common users.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array, diags_array

from recsys.dataset.training_data import TrainingData
from recsys.models.family import ModelFamily
from recsys.models.scoring.decayed import binary_of
from recsys.models.scoring.neighbours import NeighbourModel, neighbours, product_spans
from recsys.models.search_space import Choice, Range


class ItemItemConfig(BaseModel):
    """`shrinkage` is counted in users: a pair with that many in common keeps half its cosine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    neighbours: int | None = Field(default=100, ge=1)
    shrinkage: float = Field(default=5.0, ge=0)
    binary: bool = True


def fit_item_item(
    data: TrainingData, config: ItemItemConfig, *, rng: np.random.Generator
) -> NeighbourModel:
    """W_ij = cos(r_i, r_j) · n_ij / (n_ij + shrinkage), n_ij the users of both; W_ii = 0.

    Computed in blocks of rows: memory grows with interactions and with what is kept.
    """
    del rng
    ones = binary_of(data.interactions)
    matrix = ones if config.binary else data.interactions
    lengths = np.sqrt(np.asarray(matrix.power(2).sum(axis=0), np.float64).ravel())
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    by_user = csr_array((matrix @ diags_array(inverse.astype(np.float32))).tocsr())
    by_item, ones_by_item = csr_array(by_user.T.tocsr()), csr_array(ones.T.tocsr())

    def block(first: int, last: int) -> csr_array:
        cosine = by_item[first:last] @ by_user
        if not config.shrinkage:
            return cosine
        together = ones_by_item[first:last] @ ones
        together.data /= together.data + np.float32(config.shrinkage)
        return csr_array(cosine.multiply(together).tocsr())

    weights = neighbours(
        block, product_spans(by_item, by_user), n=config.neighbours, keep_self=False
    )
    return NeighbourModel(weights, config.binary)


FAMILY: Final = ModelFamily(
    config=ItemItemConfig,
    fit=fit_item_item,
    model=NeighbourModel,
    level="individual",
    labels={"en": "chosen by the same people", "nl": "gekozen door dezelfde mensen"},
    needs=frozenset({"history", "seeds"}),
    search_space={
        "neighbours": Choice((50, 100, 200, 400)),
        "shrinkage": Range(1, 100),
        "binary": Choice((False, True)),
    },
    scores_seeds=False,
    paper=(
        "Sarwar, Karypis, Konstan, Riedl: Item-based collaborative filtering recommendation "
        "algorithms, WWW 2001"
    ),
    helps="Similar items on an item page, and a plain member of a blend.",
)
