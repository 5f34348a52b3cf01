"""The personal order of a list that a search engine or listing page gives.

Every item that was sent stays in the list. Of rules, boosts multiply scores and exclusions by
condition move items to the end; filters, pins, quotas, diversity and exclusions by item id have no
effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.rules import NO_RULES, Rule, Rules, Where
from recsys.ids import Mask, Numbers
from recsys.query.account import with_account
from recsys.query.query import Query
from recsys.recommend.rerank_scores import (
    ENGINE,
    engine_ranks,
    listed_of,
    order_within,
    scores_by_source,
    weighted,
)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The personal order of a given list: `order[0]` is the position of the new first item."""

    order: NDArray[np.intp]
    scores: NDArray[np.float32]
    sources: tuple[str, ...]


def rerank(
    bundle: Bundle,
    queries: Sequence[Query],
    placement: Placement,
    live_catalog: LiveCatalog,
    *,
    rules: Rules = NO_RULES,
    personal: Sequence[Rule] = (),
) -> list[Ranking]:
    """The personal order of each query's `listed` items; every item of the list stays in it.

    score = Σ weight · score of the source (`scores_by_source`) · boost factors. The weights are
    `engine_weight` and the blend of the placement; without a history its `stranger_blend`, and
    the engine's order alone for a person who asked for the shop's order. No item moves more than
    `max_shift` positions from the engine's order, but for excluded and refused items, which go to
    the end with a score of −1. `rules` of the request and the `personal` ones hold beside those of
    the placement, for all rows; of the placement's those that are in force for the row's segments.
    """
    queries = [with_account(query, placement.account_weight) for query in queries]
    rankings = []
    sources = scores_by_source(bundle, queries, placement.models)
    for query, scores in zip(queries, sources, strict=True):
        listed = listed_of(query)
        in_force = (rule for rule in placement.rules if rule.in_force(query.now, query.segments))
        effects = rerank_effects((*in_force, rules, *personal), listed.items, live_catalog)
        in_shop_order = query.preferences.order == "shop"
        parts = {ENGINE: scores[ENGINE]} if in_shop_order else scores
        by_source = weighted(parts, _rerank_weights(query, placement)) * effects.factors
        totals = by_source.sum(axis=0)
        last = effects.excluded | np.isin(listed.items, query.refused)
        order = order_within(
            totals,
            engine_ranks(listed.scores),
            max_shift=0 if in_shop_order else placement.max_shift,
            last=last,
        )
        names = tuple(parts)
        heaviest = by_source[:, order].argmax(axis=0).tolist()
        # An item that `max_shift` holds below a better one scores no more than that one.
        final = np.minimum.accumulate(np.where(last, np.float32(-1.0), totals)[order])
        rankings.append(Ranking(order, final, tuple(names[index] for index in heaviest)))
    return rankings


def _rerank_weights(query: Query, placement: Placement) -> Mapping[str, float]:
    """The weight of each source for this query."""
    if query.preferences.order == "shop":
        return {ENGINE: 1.0}
    weights = {ENGINE: placement.engine_weight, **placement.blend}
    if placement.stranger_blend and not len(query.history):
        return dict.fromkeys(weights, 0.0) | placement.stranger_blend
    return weights


@dataclass(frozen=True, slots=True)
class RerankEffects:
    """Per item of a list whether a rule excludes it, and the product of its boost factors."""

    excluded: Mask
    factors: NDArray[np.float32]


def rerank_effects(
    rules: Iterable[Rules], listed: Numbers, live_catalog: LiveCatalog
) -> RerankEffects:
    """The effects of rules on listed items; an item that the bundle does not know (−1) has none."""
    known = listed >= 0
    excluded = np.zeros(len(listed), np.bool_)
    factors = np.ones(len(listed), np.float32)
    for rule in rules:
        if isinstance(rule.exclude, Where):
            excluded[known] |= live_catalog.columns.mask(rule.exclude)[listed[known]]
        for boost in rule.boost:
            boosted = np.zeros(len(listed), np.bool_)
            boosted[known] = live_catalog.columns.mask(boost.where)[listed[known]]
            factors[boosted] *= np.float32(boost.factor)
    return RerankEffects(excluded, factors)
