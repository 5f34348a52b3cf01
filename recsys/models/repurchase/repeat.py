"""Personal frequency: the decayed number of the user's purchases per item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recsys.dataset.training_data import TrainingData
from recsys.events.schema import PURCHASE
from recsys.events.weighting import half_life_decay
from recsys.ids import NONE, Array, Numbers
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contribution, Contributions, Scorer, short_repr
from recsys.models.scoring.saved_arrays import setting_of
from recsys.models.scoring.sparse_scores import RowScorer
from recsys.models.search_space import Choice
from recsys.query.history import History
from recsys.query.query import Query


class RepeatConfig(BaseModel):
    """`half_life_days` None counts every purchase as one, however old."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    half_life_days: float | None = Field(default=90.0, gt=0)


@dataclass(frozen=True, slots=True)
class RepeatModel:
    """score(j) = Σ 2^(−age / half-life) over the purchases of j in the history.

    A purchase is one item at one moment: an item on two lines of an invoice counts once, its
    quantity does not count. No opinion on items that the person never bought. Ties are left as
    they are.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    n_items: int
    half_life_days: float | None

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Counts the purchases; the model itself holds nothing."""
        counted = [self._counted(query.history, query.now.timestamp()) for query in queries]

        def contributions(_row: int, item: int) -> Contributions:
            return (Contribution("history", 1.0, item=item),)

        return RowScorer(n_items=self.n_items, rows=counted, contributions=contributions)

    def _counted(self, history: History, now: float) -> tuple[Numbers, NDArray[np.float32]]:
        bought = history.kinds == PURCHASE
        items, times = history.items[bought], history.times[bought]
        if not len(items):
            return NONE, np.empty(0, np.float32)
        # Stable, so that the times of one item stay in order and equal ones are neighbours.
        order = np.argsort(items, kind="stable")
        items, times = items[order], times[order]
        new_item, new_time = np.ones(len(items), np.bool_), np.ones(len(items), np.bool_)
        new_item[1:], new_time[1:] = items[1:] != items[:-1], times[1:] != times[:-1]
        counts = (new_item | new_time).astype(np.float64)
        if self.half_life_days is not None:
            counts *= half_life_decay(times, now=now, half_life_days=self.half_life_days)
        totals = np.add.reduceat(counts, np.flatnonzero(new_item))
        return items[new_item], totals.astype(np.float32)

    def arrays(self) -> Mapping[str, Array]:
        """The number of items and the half-life (infinite where purchases do not age)."""
        half_life = np.inf if self.half_life_days is None else self.half_life_days
        return {"n_items": np.array(self.n_items), "half_life_days": np.array(half_life)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> RepeatModel:
        """The model that was saved; BundleError where an array is missing or misshapen."""
        half_life = setting_of(arrays, "half_life_days")
        n_items = int(setting_of(arrays, "n_items"))
        return cls(n_items, None if np.isinf(half_life) else half_life)


def fit_repeat(
    data: TrainingData, config: RepeatConfig, *, rng: np.random.Generator
) -> RepeatModel:
    """Stores the number of items alone: the counts come from the query."""
    del rng
    return RepeatModel(len(data.items), config.half_life_days)


FAMILY: Final = ModelFamily(
    config=RepeatConfig,
    fit=fit_repeat,
    model=RepeatModel,
    level="individual",
    labels={"en": "bought before", "nl": "eerder gekocht"},
    needs=frozenset({"history"}),
    search_space={"half_life_days": Choice((None, 30, 60, 90, 180, 365))},
    helps="Groceries and supplies: most of the next basket was bought before.",
)
