"""Attribute affinity: the brands, title words and prices a user prefers over the shop's average.

Naive Bayes over an item's description (multinomial brands and words, a normal model of relative
prices). It needs no interactions of an item, so that every item of a list gets a score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recsys.catalog.items import Catalog
from recsys.dataset.training_data import TrainingData
from recsys.ids import Array, Mask, Numbers, Scores, Vocabulary
from recsys.models.content.item_words import title_words
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contributions, ScoredItems, Scorer, short_repr
from recsys.models.scoring.neighbour_kernel import present_weights, row_products
from recsys.models.scoring.saved_arrays import (
    array_of,
    same_length,
    setting_of,
    sparse_arrays,
    sparse_of,
)
from recsys.models.scoring.sparse_scores import largest_first, shares, stacked
from recsys.models.scoring.top_n import EMPTY, top_n
from recsys.query.query import Query

LARGEST_LOG: Final = 8.0
"""Bounds a log-score, so that no score is infinite."""


class AttributeAffinityConfig(BaseModel):
    """`prior` is a weight of history at everybody's shares; words in fewer than
    `min_items` titles are ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prior: float = Field(default=30.0, gt=0)
    brand: float = Field(default=0.5, ge=0)
    title_words: float = Field(
        default=0.2, ge=0, validation_alias=AliasChoices("words", "title_words")
    )
    price: float = Field(default=1.5, ge=0)
    min_items: int = Field(default=3, ge=1)


@dataclass(frozen=True, slots=True)
class AttributeAffinityModel:
    """log score(j) = Σ_f F_jf · log((w_f + prior · p_f) / ((w + prior) · p_f))
                      + price · m · (r_j − m₀) / v

    F (`described`, items × features) holds brands and title words, w_f the history's weight on a
    feature and w all of it, p_f (`shares`) everybody's share; r_j is log(price / median of the
    category) and m its mean over the history, less everybody's m₀, drawn to 0 by the prior; v is
    everybody's variance. No opinion without a history.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    described: csr_array
    shares: NDArray[np.float64]
    relative_prices: NDArray[np.float64]
    """r_j − m₀; 0 where the price is unknown."""
    price_slope: float
    prior: float

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Counts what each history is made of."""
        return _AttributeAffinityScorer(self, [query.history.totals() for query in queries])

    def features_of(
        self, items: Numbers, weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float]:
        """The log-lift of every feature, and the slope along relative prices."""
        total = float(weights.sum())
        # Each feature counts as present, however much it weighs in the score.
        on_feature = present_weights(self.described, items, weights)
        lifts = np.log(on_feature + self.prior * self.shares)
        lifts -= np.log((total + self.prior) * self.shares)
        mean = float(weights @ self.relative_prices[items]) / (total + self.prior)
        return lifts, self.price_slope * mean

    def arrays(self) -> Mapping[str, Array]:
        """The descriptions, everybody's shares and prices, and the settings."""
        return {
            **sparse_arrays("described", self.described),
            "shares": self.shares,
            "relative_prices": self.relative_prices,
            "price_slope": np.array(self.price_slope),
            "prior": np.array(self.prior),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> AttributeAffinityModel:
        """The model that was saved; BundleError where an array is missing or misshapen."""
        described = sparse_of(arrays, "described")
        by_feature = array_of(arrays, "shares", dimensions=1)
        prices = array_of(arrays, "relative_prices", dimensions=1)
        same_length(
            {"shares": by_feature, "described": np.empty(described.shape[1])},
            ["shares", "described"],
        )
        same_length(
            {"relative_prices": prices, "described": np.empty(described.shape[0])},
            ["relative_prices", "described"],
        )
        return cls(
            described,
            by_feature,
            prices,
            setting_of(arrays, "price_slope"),
            setting_of(arrays, "prior"),
        )


class _AttributeAffinityScorer:
    """Scores of the items asked for alone; a whole catalogue only to retrieve."""

    def __init__(
        self,
        model: AttributeAffinityModel,
        histories: Sequence[tuple[Numbers, NDArray[np.float32]]],
    ) -> None:
        self._model = model
        self._histories = histories
        self._affinities = [
            model.features_of(items, weights) if len(items) else None
            for items, weights in histories
        ]

    def retrieve(self, n: int, eligible: Mask) -> list[ScoredItems]:
        """Each row's best n among the eligible items."""
        everything = np.arange(len(eligible), dtype=np.int32)
        return [
            EMPTY
            if self._affinities[row] is None
            else top_n(self._scores(row, everything), n, allow=eligible)
            for row in range(len(self._affinities))
        ]

    def score(self, items: Sequence[Numbers]) -> list[Scores]:
        """One score per item asked for; NaN without a history."""
        return [self._scores(row, numbers) for row, numbers in enumerate(items)]

    def explain(self, row: int, item: int) -> Contributions:
        """The history items that share a brand or word with the item, else the whole history."""
        if self._affinities[row] is None:
            return ()
        items, weights = self._histories[row]
        target = self._model.described[[item]].toarray().ravel()
        alike = weights * (self._model.described[items] @ target)
        return largest_first(shares(items, alike if alike.any() else weights, kind="history"))

    def _scores(self, row: int, items: Numbers) -> Scores:
        affinity = self._affinities[row]
        if affinity is None:
            return np.full(len(items), np.nan, np.float32)
        lifts, slope = affinity
        logs = row_products(self._model.described, items, lifts)
        logs += slope * self._model.relative_prices[items]
        return np.asarray(np.exp(np.clip(logs, -LARGEST_LOG, LARGEST_LOG)), np.float32)


def fit_attribute_affinity(
    data: TrainingData, config: AttributeAffinityConfig, *, rng: np.random.Generator
) -> AttributeAffinityModel:
    """Everybody's shares of brands, words and prices, by the weights of the interactions."""
    del rng
    weights = np.bincount(
        data.interactions.indices, data.interactions.data, minlength=len(data.items)
    )
    described = _described(data.catalog, config)
    present = csr_array(described)
    present.data = np.ones_like(present.data)
    total = max(float(weights.sum()), 1e-30)
    # One more choice of every feature, so that nobody's share is 0.
    by_feature = (weights @ present + 1.0) / (total + 1.0)
    prices = _relative_prices(data.catalog)
    known = np.isfinite(prices)
    of_known = weights[known] if weights[known].any() else np.ones(int(known.sum()))
    mean = float(np.average(prices[known], weights=of_known)) if known.any() else 0.0
    spread = (
        float(np.average((prices[known] - mean) ** 2, weights=of_known)) if known.any() else 0.0
    )
    return AttributeAffinityModel(
        described,
        np.asarray(by_feature, np.float64),
        np.where(known, prices - mean, 0.0),
        config.price / spread if spread > 1e-9 else 0.0,
        config.prior,
    )


def _described(catalog: Catalog, config: AttributeAffinityConfig) -> csr_array:
    """Items × features: `brand` for the brand, `title_words` over the number of words for each."""
    title_terms = [sorted(set(title_words(item))) for item in catalog.items]
    counts: dict[str, int] = {}
    for terms in title_terms:
        for word in terms:
            counts[word] = counts.get(word, 0) + 1
    common = {word for word, count in counts.items() if count >= config.min_items}
    names = Vocabulary.of(
        [
            *(f"brand {item.brand}" for item in catalog.items if item.brand),
            *(f"word {word}" for word in common),
        ]
    )
    rows = []
    for item, terms in zip(catalog.items, title_terms, strict=True):
        known = [word for word in terms if word in common]
        features = {f"word {word}": config.title_words / len(known) for word in known}
        if item.brand:
            features[f"brand {item.brand}"] = config.brand
        numbers = names.numbers(list(features))
        order = np.argsort(numbers)
        rows.append((numbers[order], np.array(list(features.values()), np.float32)[order]))
    return stacked(rows, n_columns=len(names))


def _relative_prices(catalog: Catalog) -> NDArray[np.float64]:
    """log(price / median price of the category), of all items where the category is unknown."""
    prices = np.asarray(catalog.prices, np.float64)
    logs = np.log(np.where(prices > 0, prices, np.nan))
    codes = catalog.categories
    relative = np.full(len(logs), np.nan)
    for code in np.unique(codes):
        members = codes == code
        if np.isfinite(logs[members]).any():
            relative[members] = logs[members] - np.nanmedian(logs[members])
    return relative


FAMILY: Final = ModelFamily(
    config=AttributeAffinityConfig,
    fit=fit_attribute_affinity,
    model=AttributeAffinityModel,
    level="individual",
    labels={
        "en": "a brand, kind and price that you like",
        "nl": "een merk, soort en prijs die je waardeert",
    },
    needs=frozenset({"history"}),
    helps="Reranking a list by brand, kind and price, items without interactions included.",
)
