"""Where a customer stands: what rests for now, what is favoured, and what the page starts from.

Nothing here is trained: it is read off the history at the moment of asking. What rests is not
hidden for good: it comes back where nothing else is left to be shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.placements import Fatigue, Placement
from recsys.catalog.live import LiveCatalog
from recsys.events.schema import KIND_NUMBER, PURCHASE
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import NONE, Mask, Numbers, Scores
from recsys.models.protocol import Model
from recsys.models.repurchase.refill import RefillModel, due_again
from recsys.query.account import with_account
from recsys.query.history import History, UnclickedImpressions
from recsys.query.query import Query

REFUND: Final = KIND_NUMBER["refund"]
PURCHASES_LIKE_AVERAGE: Final = 3.0
"""Purchases of an average buyer that are mixed into a person's price sensitivity."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """What a placement does with one person's items.

    `hidden` are never shown, `resting` only where nothing else is left. `factors` say what scores
    are multiplied with; None where all stay as they are.
    """

    hidden: Numbers
    resting: Numbers
    factors: Factors | None

    def favoured(self, numbers: Numbers, scores: Scores) -> Scores:
        """The items' scores times their factors."""
        return scores if self.factors is None else scores * self.factors.of(numbers)


@dataclass(frozen=True, slots=True)
class Factors:
    """What the score of an item is multiplied with, looked up by row number.

    `categories` and `brands` are those of the shelf's catalogue.
    """

    live_catalog: LiveCatalog
    seed_categories: NDArray[np.int32]
    same_category: float
    returned: tuple[tuple[int, int], ...]
    """(category, brand) of what was given back."""
    returned_like: float
    on_sale: float

    def of(self, numbers: Numbers) -> NDArray[np.float32]:
        """One factor per item."""
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


def suppression(
    query: Query,
    placement: Placement,
    live_catalog: LiveCatalog,
    models: Mapping[str, Model],
    *,
    exclude: Numbers = NONE,
) -> Suppression:
    """Where the person of a query stands at a placement; `exclude` is hidden too."""
    hidden = [query.seeds, query.refused, exclude]
    resting: list[Numbers] = []
    repeated = resting if placement.repeats == "when_due" else hidden
    repeated.append(no_repeats(query, placement, models))
    if placement.fatigue is not None and len(query.unclicked_impressions.items):
        resting.append(
            tired(query.unclicked_impressions, placement.fatigue, now=query.now.timestamp())
        )
    returned = NONE if placement.returned_like is None else given_back(query.history)
    resting.append(returned)
    return Suppression(
        hidden=_distinct(hidden),
        resting=_distinct(resting),
        factors=_factors(
            query, placement, live_catalog, np.concatenate([returned, query.disliked])
        ),
    )


def no_repeats(query: Query, placement: Placement, models: Mapping[str, Model]) -> Numbers:
    """What of the person's own items a placement does not show now, by its `repeats`.

    `models` are those of the bundle; of `refill` the intervals are asked.
    """
    if placement.repeats == "exclude_history":
        return query.history.items
    if placement.repeats == "exclude_purchased":
        return query.history.purchases().items
    if placement.repeats == "when_due":
        return not_due(query.history, now=query.now.timestamp(), models=models)
    return NONE


def query_for(query: Query, placement: Placement) -> Query:
    """The query as a placement's models see it: with the placement's own seeds, and the events of
    the account in its history."""
    return with_account(seeded(query, placement), placement.account_weight)


def seeded(query: Query, placement: Placement) -> Query:
    """The query with the items that the placement starts from, where the page names none.

    `last_purchases`: what was bought on the day of the newest purchase, at most `seed_days` ago.
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
    """Mask over row numbers: what the placement may show at all; None for everything."""
    if placement.shows == "on_sale":
        return live_catalog.on_sale
    if placement.shows == "new":
        return live_catalog.new_since(now - placement.new_days * SECONDS_PER_DAY)
    return None


def not_due(history: History, *, now: float, models: Mapping[str, Model]) -> Numbers:
    """What the person bought and does not need now: bought without a habit, or not due yet."""
    refill = models.get("refill")
    items, due = due_again(history, now, refill if isinstance(refill, RefillModel) else None)
    return items[~due]


def tired(shown: UnclickedImpressions, fatigue: Fatigue, *, now: float) -> Numbers:
    """What was shown often enough without a click, and lately enough, to rest."""
    rests = now - shown.newest < fatigue.rest_days * SECONDS_PER_DAY
    return shown.items[rests & (shown.times >= fatigue.times)]


def given_back(history: History) -> Numbers:
    """What the person sent back and has not bought since."""
    refunds = history.kinds == REFUND
    if not refunds.any():
        return NONE
    back = refunds | (history.kinds == PURCHASE)
    items, times = history.items[back], history.times[back]
    order = np.lexsort((refunds[back], times, items))
    items, sent_back = items[order], refunds[back][order]
    newest = np.append(items[1:] != items[:-1], True)
    found: Numbers = items[newest & sent_back]
    return found


def price_sensitivity(history: History, live_catalog: LiveCatalog) -> float:
    """0 for who buys at any price to 1 for who buys the cheapest or what is on sale.

    max(1 − 2 · mean price rank in the category, share bought of what is on sale), both drawn to an
    average buyer's (½ and 0) by PURCHASES_LIKE_AVERAGE purchases.
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
    told = [part for part in parts if len(part)]
    if not told:
        return NONE
    numbers = np.unique(told[0] if len(told) == 1 else np.concatenate(told))
    return numbers if numbers[0] >= 0 else numbers[numbers >= 0]
