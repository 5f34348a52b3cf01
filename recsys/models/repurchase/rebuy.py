"""Repurchase rate: items that the user bought, by the share of their customers who buy again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from recsys.dataset.training_data import TrainingData
from recsys.events.schema import PURCHASE
from recsys.ids import Array, Scores
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contribution, Contributions, Scorer, short_repr
from recsys.models.scoring.saved_arrays import array_of
from recsys.models.scoring.sparse_scores import RowScorer
from recsys.models.search_space import Range
from recsys.query.query import Query


class RebuyConfig(BaseModel):
    """`prior` customers at the shop's average rate are mixed in (shrinkage)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prior: float = Field(default=5.0, gt=0)


@dataclass(frozen=True, slots=True)
class RebuyModel:
    """score(j) = share of j's customers who bought it in two or more purchases, for j in the
    person's purchases; no opinion on anything else."""

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    rates: Scores

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Looks the rates of the bought items up."""
        bought = [query.history.purchases().distinct() for query in queries]

        def contributions(_row: int, item: int) -> Contributions:
            return (Contribution("history", 1.0, item=item),)

        return RowScorer(
            n_items=len(self.rates),
            rows=[(items, self.rates[items]) for items in bought],
            contributions=contributions,
        )

    def arrays(self) -> Mapping[str, Array]:
        """The rate per item."""
        return {"rates": self.rates}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> RebuyModel:
        """The model over the same memory; BundleError where the array is missing or misshapen."""
        return cls(array_of(arrays, "rates", dimensions=1))


def fit_rebuy(data: TrainingData, config: RebuyConfig, *, rng: np.random.Generator) -> RebuyModel:
    """rate(j) = (customers with ≥ 2 purchases of j + prior · mean) / (customers of j + prior)."""
    del rng
    timeline, n_items = data.timeline, len(data.items)
    chosen = timeline.kinds == PURCHASE
    purchases = np.unique(
        np.stack(
            [
                timeline.users[chosen].astype(np.int64) * n_items + timeline.items[chosen],
                timeline.events[chosen],
            ]
        ),
        axis=1,
    )
    pairs, counts = np.unique(purchases[0], return_counts=True)
    items = pairs % n_items
    customers = np.bincount(items, minlength=n_items)
    again = np.bincount(items[counts >= 2], minlength=n_items)
    mean = again.sum() / max(int(customers.sum()), 1)
    rates = (again + config.prior * mean) / (customers + config.prior)
    return RebuyModel(rates.astype(np.float32))


FAMILY: Final = ModelFamily(
    config=RebuyConfig,
    fit=fit_rebuy,
    model=RebuyModel,
    level="individual",
    labels={
        "en": "bought before, as many do again",
        "nl": "eerder gekocht, zoals velen opnieuw doen",
    },
    needs=frozenset({"history"}),
    search_space={"prior": Range(1, 50)},
    helps="Shops that sell consumables beside things that are bought once.",
)
