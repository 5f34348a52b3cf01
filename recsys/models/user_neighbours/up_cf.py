"""UP-CF: recent purchases of the customers most similar to the user.

Faggioli, Polato, Aiolli: Recency aware collaborative filtering for next basket recommendation,
UMAP 2020. Recency is measured in days instead of baskets, so that items bought by anybody
lately count more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recsys.dataset.training_data import TrainingData
from recsys.events.pseudonyms import Pseudonyms
from recsys.events.weighting import half_life_decay
from recsys.ids import Array
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contributions, ScoredItems, Scorer, short_repr
from recsys.models.scoring.decayed import binary_of
from recsys.models.scoring.neighbours import work
from recsys.models.scoring.saved_arrays import text_array, text_of
from recsys.models.scoring.sparse_scores import SparseScorer, largest_first, shares, stacked
from recsys.models.search_space import HALF_LIVES, Choice
from recsys.models.user_neighbours.customer_rows import (
    CustomerRows,
    newest_customers,
    weighted_rows,
)
from recsys.query.query import Query


class UpCfConfig(BaseModel):
    """The names of the formula are in `UpCfModel`.

    `recent_baskets` None counts every basket, decayed by `half_life_days` (None: not at all); a
    number r counts the last r only, as published. `max_customers` bounds what is stored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_customers: int = Field(default=200_000, ge=1)
    neighbours: int = Field(default=1000, ge=1)
    asymmetry: float = Field(default=0.1, ge=0, le=1)
    locality: float = Field(default=2.5, gt=0)
    half_life_days: float | None = Field(default=21.0, gt=0)
    recent_baskets: int | None = Field(default=None, ge=1)


@dataclass(frozen=True, slots=True)
class UpCfModel:
    """score(j) = Σ_v sim(u, v)^locality · p(v, j) over the nearest customers v.

    sim(u, v) = |u ∩ v| / (|u|^asymmetry · |v|^(1 − asymmetry)) of the sets of items bought; p(v, j)
    is how often v bought j, in baskets, each halved with age: Σ 2^(−age / half-life), or among the
    last r baskets / min(r, baskets). No opinion on a person without purchases.

    Customers are stored (`stores_user_data`): those who bought last, without ids, with
    pseudonyms by which `drop_users` removes an erased one. The querying customer may be among them.
    """

    stores_user_data: ClassVar[bool] = True
    __repr__ = short_repr

    rows: CustomerRows
    config: UpCfConfig

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Finds the customers whose purchases overlap most with each query's."""
        n_customers, n_items = self.rows.values.shape
        asking = [self._asking(query) for query in queries]
        sets = [(results.numbers, results.scores) for results in asking]
        near = self.rows.nearest(stacked(sets, n_columns=n_items), self.config.neighbours)
        weights = weighted_rows(near, self.config.locality, n_customers=n_customers)

        def contributions(row: int, item: int) -> Contributions:
            power = near[row].scores ** self.config.locality
            parts = self.rows.parts(asking[row], near[row], power, item)
            return largest_first(shares(asking[row].numbers, parts, kind="history"))

        return SparseScorer(
            n_items=n_items,
            sizes=work(weights, self.rows.values),
            rows_of=lambda first, last: weights[first:last] @ self.rows.values,
            contributions=contributions,
        )

    def _asking(self, query: Query) -> ScoredItems:
        items = query.history.purchases().distinct()
        weight = max(len(items), 1) ** -self.config.asymmetry
        return ScoredItems(items, np.full(len(items), weight, np.float32))

    def drop_users(self, users: Pseudonyms) -> UpCfModel:
        """The model without the rows of these users."""
        rows = self.rows.drop_users(users)
        return self if rows is self.rows else UpCfModel(rows, self.config)

    def arrays(self) -> Mapping[str, Array]:
        """The rows and the settings."""
        return {**self.rows.arrays(), "settings": text_array(self.config.model_dump())}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> UpCfModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        config = UpCfConfig.model_validate(text_of(arrays, "settings"))
        return cls(CustomerRows.from_arrays(arrays), config)


def fit_up_cf(data: TrainingData, config: UpCfConfig, *, rng: np.random.Generator) -> UpCfModel:
    """The rows of the newest customers; nothing is random."""
    del rng
    purchases, owners = newest_customers(data, config.max_customers)
    weights = np.ones(len(purchases.items), np.float64)
    if config.recent_baskets is not None:
        weights *= purchases.ranks < config.recent_baskets
        weights /= np.minimum(config.recent_baskets, purchases.baskets)
    if config.half_life_days is not None:
        weights *= half_life_decay(
            purchases.times, now=data.as_of.timestamp(), half_life_days=config.half_life_days
        )
    shape = (len(owners), len(data.items))
    values = csr_array((weights, (purchases.users, purchases.items)), shape=shape)
    values.sum_duplicates()
    sizes = np.maximum(np.diff(values.indptr), 1)
    bought = binary_of(values)
    bought.data *= np.repeat(sizes ** (config.asymmetry - 1.0), np.diff(values.indptr))
    return UpCfModel(CustomerRows.of(csr_array(values.astype(np.float32)), bought, owners), config)


FAMILY: Final = ModelFamily(
    config=UpCfConfig,
    fit=fit_up_cf,
    model=UpCfModel,
    level="individual",
    labels={"en": "people like you bought it lately", "nl": "mensen zoals jij kochten dit pas nog"},
    needs=frozenset({"history"}),
    search_space={
        "neighbours": Choice((100, 300, 1000, 3000)),
        "asymmetry": Choice((0.0, 0.25, 0.5, 0.75, 1.0)),
        "locality": Choice((1.0, 2.0, 3.0, 5.0, 10.0)),
        "half_life_days": HALF_LIVES,
    },
    paper=(
        "Faggioli, Polato, Aiolli: Recency aware collaborative filtering for next basket "
        "recommendation, UMAP 2020"
    ),
    helps="Assortments that change with the season; stores rows of customers.",
)
