"""Popularity within the country of the query, mixed with overall popularity.

Counted over all events, those of people without consent included: nothing here is personal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.ids import Array, Scores, Vocabulary
from recsys.models.family import ModelFamily
from recsys.models.popularity.popularity import PopularityConfig, row_weights, weighted_counts
from recsys.models.protocol import Contribution, Contributions, Scorer, short_repr
from recsys.models.scoring.group_scores import GroupScorer
from recsys.models.scoring.saved_arrays import (
    array_of,
    setting_of,
    sparse_arrays,
    sparse_of,
    text_array,
    text_of,
)
from recsys.models.search_space import Choice, Range
from recsys.query.query import Query


class CountryPopularityConfig(PopularityConfig):
    """`prior` counts of overall popularity are mixed in, so that a small country is not noise."""

    half_life_days: float | None = Field(default=30.0, gt=0)
    prior: float = Field(default=20.0, ge=0)


@dataclass(frozen=True, slots=True)
class CountryPopularityModel:
    """score(j) = count in the query's country + prior · overall share of j.

    No opinion where the country is unknown or nothing was counted in it. `counts` is countries ×
    items; `shares` sum to 1.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

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


FAMILY: Final = ModelFamily(
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
