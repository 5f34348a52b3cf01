"""What everybody wants: decayed counts overall, by country, by category, and what is rising.

Learnt from all events, those of people who did not consent included: nothing here is personal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recsys.dataset.training_data import Popularity, TrainingData
from recsys.errors import BundleError
from recsys.events.weighting import SECONDS_PER_DAY, half_life_decay
from recsys.ids import Array, Numbers, Scores, Vocabulary
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contribution, Contributions, Scorer
from recsys.models.scoring.group_scores import GroupScorer, RankedScorer
from recsys.models.scoring.saved_arrays import (
    array_of,
    same_length,
    setting_of,
    sparse_arrays,
    sparse_of,
    text_array,
    text_of,
)
from recsys.models.scoring.sparse_scores import largest_first, origins, shares
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


class CountryPopularityConfig(PopularityConfig):
    """`prior` counts of overall popularity are mixed in, so that a small country is not noise."""

    half_life_days: float | None = Field(default=30.0, gt=0)
    prior: float = Field(default=20.0, ge=0)


class CategoryPopularityConfig(PopularityConfig):
    """Popularity within the categories of the page or of the history."""

    half_life_days: float | None = Field(default=30.0, gt=0)


class TrendingConfig(PopularityConfig):
    """`baseline_half_life_days` None compares with all that was ever counted.

    An item needs about `prior` counts before its rise is believed.
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


@dataclass(frozen=True, slots=True)
class CountryPopularityModel:
    """score(j) = count in the query's country + prior · overall share of j.

    No opinion where the country is unknown or nothing was counted in it. `counts` is countries ×
    items; `shares` sum to 1.
    """

    stores_user_data: ClassVar[bool] = False

    countries: Vocabulary
    counts: csr_array
    shares: NDArray[np.float32]
    prior: float

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Looks the country up: that of the moment, else the declared one."""
        numbers = (self.countries.number(query.country or "") for query in queries)
        because: Contributions = (Contribution("trait", 1.0, trait="country"),)
        return GroupScorer(
            groups=list(numbers),
            scores_of=self._scores,
            contributions=lambda _row, _item: because,
        )

    def _scores(self, country: int) -> Scores:
        scores = self.prior * self.shares
        span = slice(self.counts.indptr[country], self.counts.indptr[country + 1])
        scores[self.counts.indices[span]] += self.counts.data[span]
        scores[scores <= 0] = np.nan
        return scores.astype(np.float32)

    def arrays(self) -> Mapping[str, Array]:
        """Names, counts, shares and the prior."""
        return {
            "countries": text_array(self.countries.ids()),
            **sparse_arrays("counts", self.counts),
            "shares": self.shares,
            "prior": np.array(self.prior),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> CountryPopularityModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        countries = Vocabulary(text_of(arrays, "countries"))
        counts = sparse_of(arrays, "counts")
        shares = array_of(arrays, "shares", dimensions=1)
        if counts.shape != (len(countries), len(shares)):
            raise BundleError(
                f"Arrays 'counts'_* make {counts.shape} for {len(countries)} countries and "
                f"{len(shares)} items; rebuild the bundle."
            )
        return cls(countries, counts, shares, setting_of(arrays, "prior"))


@dataclass(frozen=True, slots=True)
class CategoryPopularityModel:
    """score(j) = share of j's category in the seeds, else in the history, · popularity of j.

    No opinion on items of other categories or of none. `categories` holds one code per item, −1
    where unknown.
    """

    stores_user_data: ClassVar[bool] = False

    scores: Scores
    categories: NDArray[np.int32]

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Sums the query's items up by category."""
        n_categories = int(self.categories.max(initial=-1)) + 1
        starting = [origins(query, binary=False) for query in queries]

        def weights_of(row: int) -> NDArray[np.float64]:
            items, weights, _ = starting[row]
            codes = self.categories[items]
            known = codes >= 0
            total = np.bincount(codes[known], weights=weights[known], minlength=n_categories)
            return np.asarray(total / max(float(total.sum()), 1e-30))

        def scores_of(row: int) -> Scores:
            # The last entry stands for "no category" (code −1).
            weights = np.append(weights_of(row), 0.0).astype(np.float32)
            scores = weights[self.categories] * self.scores
            scores[~(scores > 0)] = np.nan
            return scores

        def contributions(row: int, item: int) -> Contributions:
            items, weights, kind = starting[row]
            same = self.categories[items] == self.categories[item]
            return largest_first(shares(items[same], weights[same], kind=kind))

        return GroupScorer(
            groups=[row if len(starting[row][0]) else None for row in range(len(queries))],
            scores_of=scores_of,
            contributions=contributions,
        )

    def arrays(self) -> Mapping[str, Array]:
        """Popularity and category per item."""
        return {"scores": self.scores, "categories": self.categories}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> CategoryPopularityModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        scores = array_of(arrays, "scores", dimensions=1)
        categories = array_of(arrays, "categories", dimensions=1, kind="i")
        same_length(arrays, ["scores", "categories"])
        return cls(scores, categories)


def fit_popularity(
    data: TrainingData, config: PopularityConfig, *, rng: np.random.Generator
) -> PopularityModel:
    """Decayed counts of everybody's events."""
    del rng
    return PopularityModel.of(_opinions(weighted_counts(data, config, config.half_life_days)))


def fit_popularity_by_country(
    data: TrainingData, config: CountryPopularityConfig, *, rng: np.random.Generator
) -> CountryPopularityModel:
    """Decayed counts within each country that events name."""
    del rng
    popularity = data.popularity
    weights = row_weights(data, config, config.half_life_days)
    known = popularity.countries >= 0
    counts = csr_array(
        (weights[known], (popularity.countries[known], popularity.items[known])),
        shape=(len(popularity.country_names), len(data.items)),
    )
    counts.sum_duplicates()
    counts.data[counts.data < 0] = 0.0
    counts.eliminate_zeros()
    overall = weighted_counts(data, config, config.half_life_days)
    return CountryPopularityModel(
        popularity.country_names,
        csr_array(counts.astype(np.float32)),
        (overall / max(float(overall.sum()), 1e-30)).astype(np.float32),
        config.prior,
    )


def fit_popularity_by_category(
    data: TrainingData, config: CategoryPopularityConfig, *, rng: np.random.Generator
) -> CategoryPopularityModel:
    """Decayed counts beside the catalogue's categories (whole paths)."""
    del rng
    scores = _opinions(weighted_counts(data, config, config.half_life_days))
    return CategoryPopularityModel(scores, data.catalog.categories)


def fit_trending(
    data: TrainingData, config: TrendingConfig, *, rng: np.random.Generator
) -> PopularityModel:
    """score(j) = (s_j + prior · Σs/Σb) / (b_j + prior): how much of what was counted is recent.

    s are counts under the short half-life, b under the baseline's; an item with few counts is
    drawn to the shop's average.
    """
    del rng
    recent = weighted_counts(data, config, config.half_life_days)
    baseline = weighted_counts(data, config, config.baseline_half_life_days)
    average = recent.sum() / max(float(baseline.sum()), 1e-30)
    scores = (recent + config.prior * average) / (baseline + config.prior)
    return PopularityModel.of(np.where(baseline > 0, scores, np.nan).astype(np.float32))


def _opinions(counts: NDArray[np.float64]) -> Scores:
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
    """What each row of `data.popularity` counts."""
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
    """What an event of each kind at each time (epoch seconds, or the midnight before) counts."""
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


POPULARITY_BY_COUNTRY: Final = ModelFamily(
    config=CountryPopularityConfig,
    fit=fit_popularity_by_country,
    model=CountryPopularityModel,
    level="segment",
    labels={"en": "popular in your country", "nl": "populair in jouw land"},
    needs=frozenset({"country"}),
    search_space={"half_life_days": Choice((None, 7, 14, 30, 60)), "prior": Range(2, 200)},
    reason="popular_here",
    helps="Strangers in a shop that sells in several countries.",
)


POPULARITY_BY_CATEGORY: Final = ModelFamily(
    config=CategoryPopularityConfig,
    fit=fit_popularity_by_category,
    model=CategoryPopularityModel,
    level="segment",
    labels={
        "en": "popular in the categories that you look at",
        "nl": "populair in de categorieën die je bekijkt",
    },
    needs=frozenset({"history", "seeds"}),
    reason="popular_in_categories",
    helps="Visitors with a few views, and item pages; needs a catalogue with categories.",
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
