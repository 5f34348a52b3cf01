"""Session k-NN: items clicked in the past visits most similar to the visit under way.

VMIS-kNN (Kersbergen, Sprangers, Schelter: Serenade, SIGMOD 2022) with the decays of STAN and V-STAN
(Garg et al., SIGIR 2019; Ludewig et al., UMUAI 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from recsys.dataset.training_data import TrainingData
from recsys.events.pseudonyms import Pseudonyms
from recsys.ids import Array, Numbers
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contributions, Scorer, short_repr
from recsys.models.scoring.saved_arrays import text_array, text_of
from recsys.models.scoring.sparse_scores import SparseScorer, largest_first, shares, stacked
from recsys.models.search_space import Choice
from recsys.models.sessions.session_index import SessionIndex, index_sessions
from recsys.models.sessions.session_kernels import (
    DECAYS,
    Settings,
    Visits,
    parts_of_score,
    scored_items,
)
from recsys.query.history import History
from recsys.query.query import Query


class SessionKnnConfig(BaseModel):
    """Which past visits count and how much; the names of the formula are in `SessionKnnModel`.

    `visits_per_item` and `max_visits` bound what is stored, `recent` (m), `neighbours` (k) and
    `last_items` what one answer looks at. VMIS-kNN itself: last_items 2, neighbours 50, reach 1e9,
    half_life_days 1e9, sharpness 1, matching_rarity 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_visits: int = Field(default=10_000_000, ge=1)
    max_length: int = Field(default=50, ge=2)
    visits_per_item: int = Field(default=500, ge=1)
    recent: int = Field(default=1000, ge=1)
    neighbours: int = Field(default=100, ge=1)
    last_items: int = Field(default=20, ge=1)
    position_decay: Literal["linear", "exponential", "reciprocal"] = "reciprocal"
    position_rate: float = Field(default=0.5, gt=0)
    half_life_days: float = Field(default=90.0, gt=0)
    matching_rarity: float = Field(default=1.5, ge=0)
    scoring_rarity: float = Field(default=1.0, ge=0)
    length_penalty: float = Field(default=0.0, ge=0)
    sharpness: float = Field(default=1.5, gt=0)
    reach: float = Field(default=1.0, gt=0)
    match_decay: float = Field(default=0.6, ge=0)
    backwards: float = Field(default=1.0, ge=0)
    revisit: float = Field(default=3.0, ge=0)


@dataclass(frozen=True, slots=True)
class SessionKnnModel:
    """score(j) = rarity(j)^γ · Σ_n sim(n)^sharpness · max_{clicks c of n on j} near(c).

    n are the k most similar of the m newest visits that share an item: sim(n) = Σ_i π(b_i) ·
    rarity(i)^δ over the shared items i, times 2^(−age of n / half-life) / |n|^length_penalty, where
    b_i is the number of clicks since i (0 for the newest) and π(b) = 1 − rate · b / last_items,
    e^(−rate · b) or (1 + b)^(−rate). near(c) is the best, over the clicks of n on a shared item i,
    of e^(−match_decay · b_i − clicks between / reach), times `backwards` where c came before.
    Items of the current visit score `revisit` times as much, its newest click not at all. γ is
    `scoring_rarity`, δ `matching_rarity`. No opinion without a current visit.

    Past visits are stored (`stores_user_data`): capped in number, without user ids, with
    pseudonyms by which `drop_users` removes those of an erased user.
    """

    stores_user_data: ClassVar[bool] = True
    __repr__ = short_repr

    index: SessionIndex
    config: SessionKnnConfig

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Finds the nearest visits of each query's current visit and adds their items up."""
        visits, settings = Visits.of(self.index), _settings(self.config)
        clicks = [clicks_of(query.session) for query in queries]
        moments = [query.now.timestamp() for query in queries]
        rows = stacked(
            [
                scored_items(visits, settings, of_query, now)
                for of_query, now in zip(clicks, moments, strict=True)
            ],
            n_columns=len(self.index.rarity),
        )

        def contributions(row: int, item: int) -> Contributions:
            items, parts = parts_of_score(visits, settings, clicks[row], moments[row], item)
            return largest_first(shares(items, parts, kind="history"))

        return SparseScorer(
            n_items=len(self.index.rarity),
            sizes=np.diff(rows.indptr).astype(np.int64),
            rows_of=lambda first, last: rows[first:last],
            contributions=contributions,
        )

    def drop_users(self, users: Pseudonyms) -> SessionKnnModel:
        """The model without the visits of these users."""
        index = self.index.drop_users(users, visits_per_item=self.config.visits_per_item)
        return self if index is self.index else SessionKnnModel(index, self.config)

    def arrays(self) -> Mapping[str, Array]:
        """The index and the settings."""
        return {**self.index.arrays(), "settings": text_array(self.config.model_dump())}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> SessionKnnModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        config = SessionKnnConfig.model_validate(text_of(arrays, "settings"))
        return cls(SessionIndex.from_arrays(arrays), config)


def fit_session_knn(
    data: TrainingData, config: SessionKnnConfig, *, rng: np.random.Generator
) -> SessionKnnModel:
    """Stores the index of visits; InsufficientData where the timeline has no visits."""
    del rng
    index = index_sessions(
        data,
        max_visits=config.max_visits,
        max_length=config.max_length,
        visits_per_item=config.visits_per_item,
    )
    return SessionKnnModel(index, config)


def clicks_of(session: History) -> Numbers:
    """The items of a visit in order, of events that weigh something; the same twice running once.

    As `index_sessions` stores the visits of the past.
    """
    items = session.items[session.weights > 0]
    changes = np.ones(len(items), np.bool_)
    changes[1:] = items[1:] != items[:-1]
    return np.asarray(items[changes])


def _settings(config: SessionKnnConfig) -> Settings:
    return Settings(
        recent=config.recent,
        neighbours=config.neighbours,
        last_items=config.last_items,
        decay=DECAYS.index(config.position_decay),
        position_rate=config.position_rate,
        half_life_days=config.half_life_days,
        matching_rarity=config.matching_rarity,
        scoring_rarity=config.scoring_rarity,
        length_penalty=config.length_penalty,
        sharpness=config.sharpness,
        reach=config.reach,
        match_decay=config.match_decay,
        backwards=config.backwards,
        revisit=config.revisit,
    )


FAMILY: Final = ModelFamily(
    config=SessionKnnConfig,
    fit=fit_session_knn,
    model=SessionKnnModel,
    level="individual",
    labels={
        "en": "chosen next in visits like this one",
        "nl": "als volgende gekozen in bezoeken zoals dit",
    },
    needs=frozenset({"session"}),
    scores_seeds=False,
    reason="goes_with_visit",
    search_space={
        "sharpness": Choice((1.0, 1.5, 2.0)),
        "reach": Choice((1.0, 1.5, 3.0, 8.0, 1e9)),
        "match_decay": Choice((0.0, 0.1, 0.3, 0.6, 1.0)),
        "half_life_days": Choice((14.0, 30.0, 90.0, 1e6)),
        "visits_per_item": Choice((500, 1500)),
        "scoring_rarity": Choice((0.0, 0.5, 1.0)),
        "position_rate": Choice((0.25, 0.5, 1.0)),
        "matching_rarity": Choice((0.5, 1.0, 1.5)),
        "neighbours": Choice((100, 300, 500, 2000)),
        "length_penalty": Choice((0.0, 0.25, 0.5)),
        "backwards": Choice((0.4, 0.7, 1.0)),
        "revisit": Choice((1.0, 2.0, 3.0)),
    },
    paper=(
        "Kersbergen, Sprangers, Schelter: Serenade: low-latency session-based recommendation in "
        "e-commerce at scale, SIGMOD 2022"
    ),
    helps="Anonymous visits with several clicks; stores past visits, so the recipe must allow it.",
)
