"""A model family with a fault: it retrieves items whether they can be sold or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from recsys.dataset.training_data import TrainingData
from recsys.ids import Array, Mask
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contribution, ScoredItems
from recsys.models.scoring.group_scores import RankedScorer
from recsys.models.scoring.saved_arrays import array_of
from recsys.query.query import Query


class CarelessConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CarelessScorer(RankedScorer):
    """Every item is eligible."""

    def retrieve(self, n: int, eligible: Mask) -> list[ScoredItems]:
        return super().retrieve(n, np.ones_like(eligible))


@dataclass(frozen=True)
class CarelessModel:
    stores_user_data: ClassVar[bool] = False

    scores: Array

    def condition(self, queries: Sequence[Query]) -> CarelessScorer:
        ranking = np.arange(len(self.scores), dtype=np.int32)
        why = (Contribution("everybody", 1.0),)
        return CarelessScorer(self.scores, ranking, n_rows=len(queries), contributions=why)

    def arrays(self) -> Mapping[str, Array]:
        return {"scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> CarelessModel:
        return cls(array_of(arrays, "scores", dimensions=1))


def fit_careless(
    data: TrainingData, config: CarelessConfig, *, rng: np.random.Generator
) -> CarelessModel:
    return CarelessModel(np.linspace(1.0, 0.5, len(data.items), dtype=np.float32))


FAMILY = ModelFamily(
    config=CarelessConfig,
    fit=fit_careless,
    model=CarelessModel,
    level="everybody",
    labels={"en": "first of the catalogue"},
    reason="popular",
)
