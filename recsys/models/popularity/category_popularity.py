"""Popularity within the categories of the page or of the history.

Counted over all events, those of people without consent included: nothing here is personal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys.dataset.training_data import TrainingData
from recsys.ids import Array, Scores
from recsys.models.family import ModelFamily
from recsys.models.popularity.popularity import PopularityConfig, opinions, weighted_counts
from recsys.models.protocol import Contributions, Scorer, short_repr
from recsys.models.scoring.group_scores import GroupScorer
from recsys.models.scoring.saved_arrays import array_of, same_length
from recsys.models.scoring.sparse_scores import largest_first, origins, shares
from recsys.query.query import Query


class CategoryPopularityConfig(PopularityConfig):
    """Popularity within the categories of the page or of the history."""

    half_life_days: float | None = Field(default=30.0, gt=0)


@dataclass(frozen=True, slots=True)
class CategoryPopularityModel:
    """score(j) = share of j's category in the seeds, else in the history, · popularity of j.

    No opinion on items of other categories or of none. `categories` holds one code per item, −1
    where unknown.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

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


def fit_popularity_by_category(
    data: TrainingData, config: CategoryPopularityConfig, *, rng: np.random.Generator
) -> CategoryPopularityModel:
    """Decayed counts beside the catalogue's categories (whole paths)."""
    del rng
    scores = opinions(weighted_counts(data, config, config.half_life_days))
    return CategoryPopularityModel(scores, data.catalog.categories)


FAMILY: Final = ModelFamily(
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
