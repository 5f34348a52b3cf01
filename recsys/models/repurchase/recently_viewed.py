"""Recently viewed items of the user, newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from recsys.dataset.training_data import TrainingData
from recsys.events.schema import KIND_NUMBER
from recsys.ids import Array, Numbers
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contribution, Contributions, Scorer, short_repr
from recsys.models.scoring.saved_arrays import array_of
from recsys.models.scoring.sparse_scores import RowScorer
from recsys.query.history import History
from recsys.query.query import Query

LOOKS: Final = ("view_item", "select_item", "add_to_cart", "add_to_wishlist", "rate")


class RecentConfig(BaseModel):
    """`kinds` are the events that count as a look."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: tuple[str, ...] = LOOKS


@dataclass(frozen=True, slots=True)
class RecentModel:
    """score(j) = 1 / rank of the last look at j, the newest having rank 1; no opinion on anything
    else. Nothing is learnt but how many items there are."""

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    n_items: int
    kinds: NDArray[np.int8]

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Ranks the looks."""

        def contributions(_row: int, item: int) -> Contributions:
            return (Contribution("history", 1.0, item=item),)

        return RowScorer(
            n_items=self.n_items,
            rows=[self._ranked(query.history) for query in queries],
            contributions=contributions,
        )

    def _ranked(self, history: History) -> tuple[Numbers, NDArray[np.float32]]:
        looks = history.items[np.isin(history.kinds, self.kinds)]
        items, newest = np.unique(looks[::-1], return_index=True)
        ranks = np.argsort(np.argsort(newest)) + 1
        return items, (1.0 / ranks).astype(np.float32)

    def arrays(self) -> Mapping[str, Array]:
        """The number of items and the codes of the kinds that count."""
        return {"n_items": np.array([self.n_items]), "kinds": self.kinds}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> RecentModel:
        """The model that was saved; BundleError where an array is missing or misshapen."""
        n_items = array_of(arrays, "n_items", dimensions=1, kind="i")
        return cls(int(n_items[0]), array_of(arrays, "kinds", dimensions=1, kind="i"))


def fit_recent(
    data: TrainingData, config: RecentConfig, *, rng: np.random.Generator
) -> RecentModel:
    """Only the kinds and the number of items: the looks come from the query."""
    del rng
    return RecentModel(
        len(data.items), np.array([KIND_NUMBER[kind] for kind in config.kinds], np.int8)
    )


FAMILY: Final = ModelFamily(
    config=RecentConfig,
    fit=fit_recent,
    model=RecentModel,
    level="individual",
    labels={"en": "looked at last", "nl": "laatst bekeken"},
    needs=frozenset({"history"}),
    helps="The list of items that the customer looked at last.",
)
