"""Association rules for cold items: averaged over the items with the most similar description."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recsys.dataset.training_data import TrainingData
from recsys.models.content.content import ContentConfig, description_vectors
from recsys.models.content.description_neighbours import description_neighbours
from recsys.models.scoring.neighbours import neighbours, product_spans


class ColdItemRulesConfig(BaseModel):
    """An item without rules gets those of its `lenders` nearest by description, times `share`.

    `least_similarity` is a cosine; `lenders` 0 adds no rules.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lenders: int = Field(default=5, ge=0)
    least_similarity: float = Field(default=0.3, ge=0, le=1)
    share: float = Field(default=0.5, gt=0, le=1)


def cold_item_rules(
    rules: csr_array, data: TrainingData, config: ColdItemRulesConfig, *, n: int | None
) -> csr_array:
    """Rows of at most n entries for the items without a row in `rules` (strengths, items × items).

    s_ij = share · Σ_k sim(i, k) · s_kj / lenders over the nearest k that have rules.
    """
    n_items = rules.shape[0]
    lends = np.diff(rules.indptr) > 0
    nothing = csr_array((n_items, n_items), dtype=np.float32)
    if not config.lenders or not lends.any() or lends.all():
        return nothing
    vectors = description_vectors(data.catalog.items, ContentConfig()).vectors
    near = description_neighbours(
        vectors, wanted=~lends, allowed=lends, n=config.lenders, least=config.least_similarity
    )
    near.data *= np.float32(config.share / config.lenders)
    return neighbours(
        lambda first, last: csr_array(near[first:last] @ rules),
        product_spans(near, rules),
        n=n,
        keep_self=False,
    )
