"""The rule engine: the rules in force for one list, compiled against the live catalogue.

`compile_rules` turns the rules of placement, person and request into masks and codes. Hard rules
(filter, exclude) are applied before retrieval (`allowed`, `excluded`) and hold always; `select`
applies pins, quotas, diversity and variants to an ordered pool (`diversity_and_quotas`); and
`keeps_promises` says whether a list may be changed into another one after that.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np

from recsys.catalog.availability import LiveCatalog
from recsys.catalog.coded_column import Codes
from recsys.catalog.rules import NO_RULES, Rule, Rules, Where, named
from recsys.ids import NONE, Mask, Numbers, Scores
from recsys.recommend.diversity_and_quotas import (
    GIVING_WAY,
    VARIANTS,
    GreedySelection,
    ItemCap,
    ItemQuota,
    Selection,
)

REQUEST: Final = "request"
"""The name of the rules of a request, in effects."""


@dataclass(frozen=True, slots=True)
class RuleEngine:
    """The compiled rules of one list.

    `barriers` are the hard rules, each a name and the mask of items that pass; `excluded` are items
    that were excluded by id; `pins` are (position, item number).
    """

    barriers: tuple[tuple[str, Mask], ...] = ()
    excluded: Numbers = field(default_factory=lambda: NONE)
    boosts: tuple[tuple[str, Mask, float], ...] = ()
    pins: tuple[tuple[int, int], ...] = ()
    quotas: tuple[ItemQuota, ...] = ()
    caps: tuple[ItemCap, ...] = ()

    def __repr__(self) -> str:
        names = [name for name, *_ in (*self.barriers, *self.boosts)]
        names += [quota.name for quota in self.quotas] + [cap.name for cap in self.caps]
        return f"RuleEngine({names}, {len(self.pins)} pins, {len(self.excluded)} items excluded)"

    @property
    def item_groups(self) -> Codes | None:
        """The item group of each item; None where no item has variants."""
        return next((cap.codes for cap in self.caps if cap.name == VARIANTS), None)

    @property
    def has_list_rules(self) -> bool:
        """Whether pins, quotas, diversity or variants limit the list; without any of them a list is
        the first n items of its pool."""
        return bool(self.pins or self.quotas or self.caps)

    def allowed(self, eligible: Mask) -> Mask:
        """The eligible items that pass the hard rules."""
        for _, mask in self.barriers:
            eligible = eligible & mask
        return eligible

    def boosted(self, numbers: Numbers, scores: Scores) -> Scores:
        """The scores times the factors of all boosts that match."""
        for _, mask, factor in self.boosts:
            scores = np.where(mask[numbers], scores * np.float32(factor), scores)
        return scores

    def select(self, pool: Numbers, n: int, *, relax: bool = False) -> Selection:
        """At most n items of `pool` (distinct, best first), pins among them.

        With `relax`, diversity and then the maxima of quotas give way to the minima of quotas and
        to the length of the list; otherwise the list may be shorter than n, and a minimum unmet.
        """
        if not self.has_list_rules:
            return Selection(tuple(range(min(n, len(pool)))), frozenset(), (), ())
        selection = GreedySelection(pool, n, self.quotas, self.caps)
        selection.pin(self.pins)
        selection.reserve()
        for strictness in GIVING_WAY if relax else ():
            selection.reserve(strictness)
        selection.fill()
        for strictness in GIVING_WAY if relax else ():
            selection.fill(strictness)
        return selection.result()

    def keeps_promises(self, before: Numbers, after: Numbers) -> bool:
        """Whether the list `after` keeps what the selected list `before` does, of the same length:
        its pins stay where they are, no minimum of a quota is missed by more than it was, and what
        may give way (maxima, diversity) need not."""
        if not self.has_list_rules:
            return True
        selection = self.select(after, len(after))
        if selection.indices != tuple(range(len(after))):
            return False
        pinned = {number for _, number in self.pins} & set(before.tolist())
        if not pinned <= set(after.tolist()):
            return False
        return all(
            quota.mask[after].sum() >= min(quota.at_least, quota.mask[before].sum())
            for quota in self.quotas
        )


@dataclass(frozen=True, slots=True)
class ListLimits:
    """What a list may hold: the eligible items of the live catalog, within the rules in force.

    `barriers` are the names and masks of all hard rules in the order of their application, stock
    first; `eligible` are the items that pass all of them.
    """

    live_catalog: LiveCatalog = field(repr=False)
    eligible: Mask = field(repr=False)
    rules: RuleEngine
    barriers: tuple[tuple[str, Mask], ...] = field(repr=False)


def compile_rules(
    live_catalog: LiveCatalog,
    now: datetime,
    rules: Sequence[Rule] = (),
    request: Rules = NO_RULES,
    *,
    segments: Collection[str] = (),
) -> RuleEngine:
    """The rules in force at `now` for people of these segments, those of the request last.

    Where no filter asks for a kind of content, the list holds products alone. A later pin of the
    same item replaces an earlier one.
    """
    parts: list[tuple[str, Rules]] = list(named(rules, now, segments))
    if not request.say_nothing:
        parts.append((REQUEST, request))
    columns, vocabulary = live_catalog.columns, live_catalog.catalog.vocabulary
    excluded = [
        vocabulary.known(part.exclude)
        for _, part in parts
        if part.exclude and not isinstance(part.exclude, Where)
    ]
    boosts = [
        (f"{name}.boost[{index}]", columns.mask(boost.where), boost.factor)
        for name, part in parts
        for index, boost in enumerate(part.boost)
    ]
    pins: dict[int, int] = {}
    for _, part in parts:
        for pin in part.pin:
            number = vocabulary.number(pin.item_id)
            if number is not None:
                pins = {at: other for at, other in pins.items() if other != number}
                pins[pin.position] = number
    quotas = [
        ItemQuota(
            f"{name}.quota[{index}]",
            columns.mask(quota.where),
            quota.at_least or 0,
            quota.at_most,
        )
        for name, part in parts
        for index, quota in enumerate(part.quota)
    ]
    return RuleEngine(
        barriers=tuple(_barriers(parts, live_catalog)),
        excluded=np.concatenate(excluded) if excluded else NONE,
        boosts=tuple(boosts),
        pins=tuple(sorted(pins.items())),
        quotas=tuple(quotas),
        caps=tuple(_caps(parts, live_catalog)),
    )


def _barriers(
    parts: Sequence[tuple[str, Rules]], live_catalog: LiveCatalog
) -> list[tuple[str, Mask]]:
    columns = live_catalog.columns
    barriers: list[tuple[str, Mask]] = []
    if not any(part.filter is not None and part.filter.asks_for_kind for _, part in parts):
        products = columns.only_products
        if products is not None:
            barriers.append(("kind", products))
    for name, part in parts:
        if part.filter is not None:
            barriers.append((f"{name}.filter", columns.mask(part.filter)))
        if isinstance(part.exclude, Where):
            barriers.append((f"{name}.exclude", ~columns.mask(part.exclude)))
    return barriers


def _caps(parts: Sequence[tuple[str, Rules]], live_catalog: LiveCatalog) -> list[ItemCap]:
    columns = live_catalog.columns
    caps = [
        ItemCap(
            f"{name}.diversity[{index}]",
            columns.codes(diversity.per, depth=diversity.depth),
            diversity.at_most,
        )
        for name, part in parts
        for index, diversity in enumerate(part.diversity)
    ]
    item_groups = columns.item_groups
    if item_groups is not None:
        caps.append(ItemCap(VARIANTS, item_groups, 1))
    return caps
