"""Popularity: decayed counts of everybody's events, and trending: how much of them is recent.

Counted over all events, those of people without consent included: nothing here is personal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recsys.dataset.event_tables import Popularity
from recsys.dataset.training_data import TrainingData
from recsys.events.weighting import SECONDS_PER_DAY, half_life_decay
from recsys.ids import Array, Numbers, Scores
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contribution, Contributions, Scorer, short_repr
from recsys.models.scoring.group_scores import RankedScorer
from recsys.models.scoring.saved_arrays import array_of
from recsys.models.scoring.top_n import top_n
from recsys.models.search_space import Choice, Range
from recsys.query.query import Query

EVERYBODY: Contributions = (Contribution("everybody", 1.0),)


class PopularityConfig(BaseModel):
    """A count is an event's weight by kind, halved with age; `window_days` forgets what is older.

    `kinds` None counts every kind that has a weight.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    half_life_days: float | None = Field(default=14.0, gt=0)
    window_days: float | None = Field(default=None, gt=0)
    kinds: tuple[str, ...] | None = None


class TrendingConfig(PopularityConfig):
    """`baseline_half_life_days` None compares with all that was ever counted.

    `prior` counts at the shop's average rate shrink items with few counts.
    """

    half_life_days: float | None = Field(default=14.0, gt=0)
    baseline_half_life_days: float | None = Field(default=None, gt=0)
    prior: float = Field(default=5.0, gt=0)


@dataclass(frozen=True, slots=True)
class PopularityModel:
    """One score per item, the same for every query; NaN for items that nobody has touched.

    `ranking` is the items with a score, best first: sorted once, not for every query.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    scores: Scores
    ranking: Numbers

    @classmethod
    def of(cls, scores: Scores) -> PopularityModel:
        """The model of these scores."""
        return cls(scores, top_n(scores, max(len(scores), 1)).numbers)

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """The same answer for all."""
        return RankedScorer(self.scores, self.ranking, n_rows=len(queries), contributions=EVERYBODY)

    def arrays(self) -> Mapping[str, Array]:
        """The scores."""
        return {"scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> PopularityModel:
        """The model over the same memory; BundleError where the array is missing or misshapen."""
        return cls.of(array_of(arrays, "scores", dimensions=1))


def fit_popularity(
    data: TrainingData, config: PopularityConfig, *, rng: np.random.Generator
) -> PopularityModel:
    """Decayed counts of everybody's events."""
    del rng
    return PopularityModel.of(opinions(weighted_counts(data, config, config.half_life_days)))


def fit_trending(
    data: TrainingData, config: TrendingConfig, *, rng: np.random.Generator
) -> PopularityModel:
    """score(j) = (s_j + prior · Σs/Σb) / (b_j + prior): how much of what was counted is recent.

    s are counts under the short half-life, b under the baseline's; an item with few counts is
    shrunk to the shop's average.
    """
    del rng
    recent = weighted_counts(data, config, config.half_life_days)
    baseline = weighted_counts(data, config, config.baseline_half_life_days)
    average = recent.sum() / max(float(baseline.sum()), 1e-30)
    scores = (recent + config.prior * average) / (baseline + config.prior)
    return PopularityModel.of(np.where(baseline > 0, scores, np.nan).astype(np.float32))


def opinions(counts: NDArray[np.float64]) -> Scores:
    """Counts as scores: NaN where nothing was counted."""
    return np.where(counts > 0, counts, np.nan).astype(np.float32)


def weighted_counts(
    data: TrainingData, config: PopularityConfig, half_life_days: float | None
) -> NDArray[np.float64]:
    """Weighted, decayed counts per item, never below zero."""
    weights = row_weights(data, config, half_life_days)
    totals = np.bincount(data.popularity.items, weights=weights, minlength=len(data.items))
    return np.maximum(totals, 0.0)


def row_weights(
    data: TrainingData, config: PopularityConfig, half_life_days: float | None
) -> NDArray[np.float64]:
    """The weight of each row of `data.popularity`."""
    popularity: Popularity = data.popularity
    each = event_weights(data, config, half_life_days, popularity.kinds, popularity.days)
    return popularity.counts * each


def event_weights(
    data: TrainingData,
    config: PopularityConfig,
    half_life_days: float | None,
    kinds: NDArray[np.int8],
    times: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The weight of an event of each kind at each time (epoch seconds, or the midnight before)."""
    now = data.as_of.timestamp()
    weighting = data.weighting
    if config.kinds is not None:
        chosen = {kind: weighting.kind_weights.get(kind, 1.0) for kind in config.kinds}
        weighting = weighting.model_copy(update={"kind_weights": chosen})
    weights = weighting.by_number()[kinds].astype(np.float64)
    if half_life_days is not None:
        weights = weights * half_life_decay(times, now=now, half_life_days=half_life_days)
    if config.window_days is not None:
        # A day is counted while any part of it lies within the window.
        first = now - (config.window_days + 1) * SECONDS_PER_DAY
        weights = np.where(times > first, weights, 0.0)
    return np.asarray(weights, np.float64)


POPULARITY: Final = ModelFamily(
    config=PopularityConfig,
    fit=fit_popularity,
    model=PopularityModel,
    level="everybody",
    labels={"en": "popular with everybody", "nl": "populair bij iedereen"},
    search_space={"half_life_days": Choice((None, 2, 4, 7, 14, 30, 60))},
    reason="popular",
    helps="The fallback for strangers, and the bar that every other family has to clear.",
)


TRENDING: Final = ModelFamily(
    config=TrendingConfig,
    fit=fit_trending,
    model=PopularityModel,
    level="everybody",
    labels={"en": "on the rise", "nl": "in opkomst"},
    search_space={"half_life_days": Range(3, 60), "prior": Range(1, 50)},
    reason="trending",
    helps="Seasons and fashions: what sells more than it used to.",
)
