"""TIFU-KNN: temporal item frequencies of the user, mixed with those of the nearest customers.

Hu, He, Gao, Zhang: Modeling personalized item frequency information for next-basket
recommendation, SIGIR 2020. Neighbours are weighted by cosine instead of distance, which was
better on every validation period measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recsys.dataset.training_data import TrainingData
from recsys.events.pseudonyms import Pseudonyms
from recsys.ids import Array
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contributions, ScoredItems, Scorer, short_repr
from recsys.models.scoring.neighbours import work
from recsys.models.scoring.saved_arrays import text_array, text_of
from recsys.models.scoring.sparse_scores import SparseScorer, largest_first, shares
from recsys.models.search_space import Choice
from recsys.models.user_neighbours.customer_rows import (
    CustomerRows,
    Purchases,
    newest_customers,
    unit_rows,
    weighted_rows,
)
from recsys.query.query import Query


class TifuKnnConfig(BaseModel):
    """The names of the formula are in `TifuKnnModel`; `max_customers` bounds what is stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_customers: int = Field(default=200_000, ge=1)
    group_size: int = Field(default=10, ge=1)
    within_decay: float = Field(default=0.9, gt=0, le=1)
    group_decay: float = Field(default=0.7, gt=0, le=1)
    neighbours: int = Field(default=300, ge=1)
    locality: float = Field(default=3.0, gt=0)
    own_share: float = Field(default=0.5, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class TifuKnnModel:
    """score = own_share · t(u) + (1 − own_share) · Σ_v sim^locality · t(v) / Σ_v sim^locality.

    t(u) is the temporal item frequency: baskets, counted back from the newest, in groups of
    `group_size`; the mean over the groups g (0 newest) of group_decay^g · the mean over the group's
    baskets b (0 newest) of within_decay^b · [item in basket]. v are the `neighbours` customers of
    the largest cosine sim(t(u), t(v)). No opinion on a person without purchases.

    Customers are stored (`stores_user_data`): those who bought last, without ids, with
    pseudonyms by which `drop_users` removes an erased one. The querying customer may be among them.
    """

    stores_user_data: ClassVar[bool] = True
    __repr__ = short_repr

    rows: CustomerRows
    config: TifuKnnConfig

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Computes each query's frequencies and finds the nearest customers."""
        n_customers, n_items = self.rows.values.shape
        frequencies = self._frequencies(queries)
        units = unit_rows(frequencies)
        near = self.rows.nearest(units, self.config.neighbours)
        weights = weighted_rows(near, self.config.locality, n_customers=n_customers)
        totals = np.asarray(weights.sum(axis=1), np.float64).ravel()
        scale = np.divide(
            1.0 - self.config.own_share, totals, out=np.zeros_like(totals), where=totals > 0
        ).astype(np.float32)
        weights.data *= np.repeat(scale, np.diff(weights.indptr))
        personal = frequencies * np.float32(self.config.own_share)

        def contributions(row: int, item: int) -> Contributions:
            span = slice(units.indptr[row], units.indptr[row + 1])
            asking = ScoredItems(units.indices[span], units.data[span])
            near_weights = weights.data[weights.indptr[row] : weights.indptr[row + 1]]
            parts = self.rows.parts(asking, near[row], near_weights, item)
            parts[asking.numbers == item] += personal.data[span][asking.numbers == item]
            return largest_first(shares(asking.numbers, parts, kind="history"))

        return SparseScorer(
            n_items=n_items,
            sizes=work(weights, self.rows.values) + np.diff(personal.indptr),
            rows_of=lambda first, last: csr_array(
                weights[first:last] @ self.rows.values + personal[first:last]
            ),
            contributions=contributions,
        )

    def _frequencies(self, queries: Sequence[Query]) -> csr_array:
        bought = [query.history.purchases() for query in queries]
        users = np.repeat(
            np.arange(len(bought), dtype=np.int32), [len(purchases) for purchases in bought]
        )
        items = np.concatenate([np.empty(0, np.int32), *(purchases.items for purchases in bought)])
        times = np.concatenate(
            [np.empty(0, np.float64), *(purchases.times for purchases in bought)]
        )
        shape = (len(queries), self.rows.values.shape[1])
        return frequencies_of(Purchases.of(users, items, times), self.config, shape)

    def drop_users(self, users: Pseudonyms) -> TifuKnnModel:
        """The model without the rows of these users."""
        rows = self.rows.drop_users(users)
        return self if rows is self.rows else TifuKnnModel(rows, self.config)

    def arrays(self) -> Mapping[str, Array]:
        """The rows and the settings."""
        return {**self.rows.arrays(), "settings": text_array(self.config.model_dump())}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> TifuKnnModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        config = TifuKnnConfig.model_validate(text_of(arrays, "settings"))
        return cls(CustomerRows.from_arrays(arrays), config)


def fit_tifu_knn(
    data: TrainingData, config: TifuKnnConfig, *, rng: np.random.Generator
) -> TifuKnnModel:
    """The frequencies of the newest customers; nothing is random."""
    del rng
    purchases, owners = newest_customers(data, config.max_customers)
    values = frequencies_of(purchases, config, (len(owners), len(data.items)))
    return TifuKnnModel(CustomerRows.of(values, unit_rows(values), owners), config)


def frequencies_of(
    purchases: Purchases, config: TifuKnnConfig, shape: tuple[int, int]
) -> csr_array:
    """t(u) of every user, users × items, float32."""
    group, rank = np.divmod(purchases.ranks, config.group_size)
    groups = -(-purchases.baskets // config.group_size)
    in_group = np.minimum(purchases.baskets - group * config.group_size, config.group_size)
    weights: NDArray[np.float64] = config.group_decay**group / groups
    weights *= config.within_decay**rank / in_group
    matrix = csr_array((weights, (purchases.users, purchases.items)), shape=shape)
    matrix.sum_duplicates()
    return csr_array(matrix.astype(np.float32))


FAMILY: Final = ModelFamily(
    config=TifuKnnConfig,
    fit=fit_tifu_knn,
    model=TifuKnnModel,
    level="individual",
    labels={
        "en": "fits your rhythm and that of people like you",
        "nl": "past bij je ritme en dat van mensen zoals jij",
    },
    needs=frozenset({"history"}),
    search_space={
        "group_size": Choice((3, 5, 7, 10, 12)),
        "within_decay": Choice((0.6, 0.7, 0.8, 0.9, 1.0)),
        "group_decay": Choice((0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        "neighbours": Choice((100, 300, 900)),
        "own_share": Choice((0.1, 0.3, 0.5, 0.7, 0.9)),
        "locality": Choice((2.0, 3.0, 4.0)),
    },
    paper=(
        "Hu, He, Gao, Zhang: Modeling personalized item frequency information for next-basket "
        "recommendation, SIGIR 2020"
    ),
    helps="Groceries: the next basket of customers with many baskets; stores rows of customers.",
)
