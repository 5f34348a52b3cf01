"""Cold items: new items scored through the known items with the most similar description.

The weights of a random walk item → user → item (`random_walk`), multiplied by the description
similarity of known and new items. A user gets a new item where the walk recommends its neighbours.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array, eye_array

from recsys.dataset.training_data import TrainingData
from recsys.ids import Mask
from recsys.models.content.content import ContentConfig, description_vectors
from recsys.models.content.description_neighbours import description_neighbours
from recsys.models.family import ModelFamily
from recsys.models.item_to_item.random_walk import RandomWalkConfig, fit_random_walk
from recsys.models.scoring.neighbours import NeighbourModel, neighbours, product_spans


class ColdItemsConfig(BaseModel):
    """An item with at most `max_users` users is new; it is scored through its `nearest` items by
    description, whose cosine counts to the power `sharpness`.

    `itself` is the weight of the direct similarity of a history item and the new item, added to the
    walk.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_users: int = Field(default=2, ge=0)
    nearest: int = Field(default=20, ge=1)
    sharpness: float = Field(default=3.0, gt=0)
    itself: float = Field(default=0.1, ge=0)
    neighbours: int | None = Field(default=200, ge=1)
    walk: RandomWalkConfig = RandomWalkConfig(neighbours=200, beta=0.5)
    description: ContentConfig = ContentConfig()


def fit_cold_items(
    data: TrainingData, config: ColdItemsConfig, *, rng: np.random.Generator
) -> NeighbourModel:
    """W_ij = Σ_k (walk_ik + itself · [i = k]) · cos(k, j)^sharpness over the nearest k of each new
    item j; nothing for items that are not new."""
    walk = fit_random_walk(data, config.walk, rng=rng)
    n_items = len(data.items)
    people = np.bincount(data.interactions.indices, minlength=n_items)
    known = people > config.max_users
    similar = _nearest(data, known, config)
    left = csr_array(
        walk.weights + config.itself * eye_array(n_items, dtype=np.float32, format="csr")
    )
    weights = neighbours(
        lambda first, last: csr_array(left[first:last] @ similar),
        product_spans(left, similar),
        n=config.neighbours,
        keep_self=False,
    )
    return NeighbourModel(weights, walk.binary)


def _nearest(data: TrainingData, known: Mask, config: ColdItemsConfig) -> csr_array:
    """Known items × new items: how alike they are described, for the nearest of each new item."""
    vectors = description_vectors(data.catalog.items, config.description).vectors
    near = description_neighbours(vectors, wanted=~known, allowed=known, n=config.nearest)
    near.data **= np.float32(config.sharpness)
    return csr_array(near.T.tocsr())


FAMILY: Final = ModelFamily(
    config=ColdItemsConfig,
    fit=fit_cold_items,
    model=NeighbourModel,
    level="individual",
    labels={
        "en": "new, and like what fits your taste",
        "nl": "nieuw, en lijkt op wat bij je smaak past",
    },
    needs=frozenset({"history", "seeds"}),
    scores_seeds=False,
    reason="new",
    helps="Items that were added lately; needs titles, categories or brands in the catalogue.",
)
