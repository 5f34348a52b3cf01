"""Suppression: what a placement does not show to one person now, and whose scores it changes.

Nothing here is fitted: it follows from the history at the moment of the request. Excluded items are
never shown; suppressed ones come back where a list would otherwise be short.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import NONE, Mask, Numbers, Scores
from recsys.models.protocol import Model
from recsys.query.account import with_account
from recsys.query.history import History
from recsys.query.query import Query
from recsys.recommend.already_bought import no_repeats, returned_items
from recsys.recommend.frequency_cap import frequency_capped

PURCHASES_LIKE_AVERAGE: Final = 3.0
"""Prior of the price sensitivity: as many purchases of an average buyer are added."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """How a placement treats items for one person.

    `excluded` items are never shown, `suppressed` ones only where nothing else is left. `factors`
    multiply scores; None where no score changes.
    """

    excluded: Numbers
    suppressed: Numbers
    factors: Factors | None

    def __repr__(self) -> str:
        return (
            f"Suppression({len(self.excluded)} items excluded, "
            f"{len(self.suppressed)} suppressed, factors={self.factors!r})"
        )

    def boosted(self, numbers: Numbers, scores: Scores) -> Scores:
        """The items' scores times their factors."""
        return scores if self.factors is None else scores * self.factors.of(numbers)


@dataclass(frozen=True, slots=True)
class Factors:
    """The factor that an item's score is multiplied with."""

    live_catalog: LiveCatalog = field(repr=False)
    seed_categories: NDArray[np.int32]
    same_category: float
    returned: tuple[tuple[int, int], ...]
    """(category, brand) codes of returned and disliked items."""
    returned_like: float
    on_sale: float

    def of(self, numbers: Numbers) -> NDArray[np.float32]:
        """A factor per item."""
        catalog = self.live_catalog.catalog
        factors = np.ones(len(numbers), np.float32)
        categories = catalog.categories[numbers]
        if len(self.seed_categories):
            factors[np.isin(categories, self.seed_categories)] *= self.same_category
        for category, brand in self.returned:
            like = (categories == category) & (catalog.brands[numbers] == brand)
            factors[like] *= self.returned_like
        if self.on_sale != 1.0:
            factors[self.live_catalog.on_sale[numbers]] *= self.on_sale
        return factors


def suppress(
    query: Query,
    placement: Placement,
    live_catalog: LiveCatalog,
    models: Mapping[str, Model],
    *,
    exclude: Numbers = NONE,
) -> Suppression:
    """What a placement excludes, suppresses and boosts for the person of a query.

    Excluded: seeds, refused items, `exclude`, and what `repeats` rules out. Suppressed: purchases
    that are not due (`when_due`), frequency-capped and returned items. `models` are the bundle's.
    """
    excluded = [query.seeds, query.refused, exclude]
    suppressed: list[Numbers] = []
    repeated = suppressed if placement.repeats == "when_due" else excluded
    repeated.append(no_repeats(query, placement, models))
    impressions = query.unclicked_impressions
    if placement.fatigue is not None and len(impressions.items):
        capped = frequency_capped(impressions, placement.fatigue, now=query.now.timestamp())
        suppressed.append(capped)
    returned = NONE if placement.returned_like is None else returned_items(query.history)
    suppressed.append(returned)
    return Suppression(
        excluded=_distinct(excluded),
        suppressed=_distinct(suppressed),
        factors=_factors(
            query, placement, live_catalog, np.concatenate([returned, query.disliked])
        ),
    )


def query_for(query: Query, placement: Placement) -> Query:
    """The query as a placement's models get it: with the placement's own seeds, and the events of
    the account in its history."""
    return with_account(seeded(query, placement), placement.account_weight)


def seeded(query: Query, placement: Placement) -> Query:
    """The query with the seeds of the placement, where the page has none.

    `last_purchases`: the items of the 24 hours up to the newest purchase, at most `seed_days` ago.
    """
    if placement.seeds == "page" or len(query.seeds):
        return query
    bought = query.history.purchases()
    if not len(bought):
        return query
    newest = float(bought.times.max())
    if query.now.timestamp() - newest > placement.seed_days * SECONDS_PER_DAY:
        return query
    return replace(query, seeds=bought.since(newest - SECONDS_PER_DAY).distinct())


def shown_mask(placement: Placement, live_catalog: LiveCatalog, *, now: float) -> Mask | None:
    """The items that the placement shows at all, by its `shows`; None for everything. `now` is in
    epoch seconds."""
    if placement.shows == "on_sale":
        return live_catalog.on_sale
    if placement.shows == "new":
        return live_catalog.new_since(now - placement.new_days * SECONDS_PER_DAY)
    return None


def price_sensitivity(history: History, live_catalog: LiveCatalog) -> float:
    """How much a person prefers low prices: 0 (any price) to 1 (the cheapest, or on sale alone).

    max(1 − 2 · mean price rank in the category, share of purchases that are on sale), each shrunk
    to an average buyer's (½ and 0) by PURCHASES_LIKE_AVERAGE purchases.
    """
    bought = history.purchases().distinct()
    if not len(bought):
        return 0.0
    ranks = live_catalog.price_ranks[bought]
    ranks = ranks[np.isfinite(ranks)]
    prior = PURCHASES_LIKE_AVERAGE
    rank = (float(ranks.sum()) + 0.5 * prior) / (len(ranks) + prior)
    discounted = float(live_catalog.on_sale[bought].sum()) / (len(bought) + prior)
    return float(np.clip(max(1.0 - 2.0 * rank, discounted), 0.0, 1.0))


def _factors(
    query: Query, placement: Placement, live_catalog: LiveCatalog, returned: Numbers
) -> Factors | None:
    catalog = live_catalog.catalog
    boost = 1.0
    if placement.sale_boost > 0:
        boost += placement.sale_boost * price_sensitivity(query.history, live_catalog)
    seeds = NONE
    if placement.same_category < 1.0:
        seeds = query.seeds
    if boost == 1.0 and not len(seeds) and not len(returned):
        return None
    categories = np.unique(catalog.categories[seeds]) if len(seeds) else NONE
    pairs = zip(
        catalog.categories[returned].tolist(), catalog.brands[returned].tolist(), strict=True
    )
    return Factors(
        live_catalog=live_catalog,
        seed_categories=categories[categories >= 0],
        same_category=placement.same_category,
        returned=tuple(sorted({(category, brand) for category, brand in pairs if category >= 0})),
        returned_like=1.0 if placement.returned_like is None else placement.returned_like,
        on_sale=boost,
    )


def _distinct(parts: list[Numbers]) -> Numbers:
    """The distinct known item numbers, ascending."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return NONE
    numbers = np.unique(filled[0] if len(filled) == 1 else np.concatenate(filled))
    return numbers if numbers[0] >= 0 else numbers[numbers >= 0]
