"""Item-to-item neighbours of the visit under way, its newest events weighted most.

The item-to-item baseline of session-based recommendation: Ludewig, Jannach: Evaluation of
session-based recommendation algorithms, UMUAI 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys.dataset.training_data import TrainingData
from recsys.ids import NONE, Array
from recsys.models.family import ModelFamily
from recsys.models.item_to_item.item_item import ItemItemConfig, fit_item_item
from recsys.models.protocol import Scorer, short_repr
from recsys.models.scoring.neighbours import NeighbourModel
from recsys.models.scoring.saved_arrays import array_of
from recsys.models.search_space import Choice
from recsys.query.history import History
from recsys.query.query import Query


class SessionConfig(ItemItemConfig):
    """The newest event of the visit weighs 1, the one before it `decay`, and so on; events of kinds
    that weigh nothing do not count."""

    decay: float = Field(default=0.8, gt=0, le=1)
    shrinkage: float = Field(default=2.0, ge=0)


@dataclass(frozen=True, slots=True)
class SessionModel:
    """score(j) = Σ over the visit, newest first, of decay^rank · cos(i, j).

    No opinion without a current visit; looks at no older history. Items of the page do not matter.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    neighbours: NeighbourModel
    decay: NDArray[np.float32]

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Sums the neighbours of the items of the visit; the older history is ignored."""
        return self.neighbours.condition(
            [replace(query, history=self._faded(query.session), seeds=NONE) for query in queries]
        )

    def _faded(self, session: History) -> History:
        counts = session.weights > 0
        items, kinds, times = session.items[counts], session.kinds[counts], session.times[counts]
        ranks = np.arange(len(items))[::-1]
        return History(items, kinds, times, (self.decay**ranks).astype(np.float32))

    def arrays(self) -> Mapping[str, Array]:
        """The neighbours and the decay."""
        return {**self.neighbours.arrays(), "decay": self.decay}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> SessionModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        return cls(NeighbourModel.from_arrays(arrays), array_of(arrays, "decay", dimensions=1))


def fit_session(
    data: TrainingData, config: SessionConfig, *, rng: np.random.Generator
) -> SessionModel:
    """Cosine between items over all interactions, with the shrinkage of this family."""
    weights = fit_item_item(data, config, rng=rng).weights
    return SessionModel(NeighbourModel(weights, binary=False), np.array([config.decay], np.float32))


FAMILY: Final = ModelFamily(
    config=SessionConfig,
    fit=fit_session,
    model=SessionModel,
    level="individual",
    labels={"en": "goes with this visit", "nl": "past bij dit bezoek"},
    needs=frozenset({"session"}),
    scores_seeds=False,
    reason="goes_with_visit",
    search_space={
        "decay": Choice((0.3, 0.4, 0.5, 0.6, 0.8)),
        "shrinkage": Choice((0.0, 2.0, 10.0)),
    },
    paper="Ludewig, Jannach: Evaluation of session-based recommendation algorithms, UMUAI 2018",
    helps="Anonymous visitors: the views of the visit under way; needs sessions in the events.",
)
