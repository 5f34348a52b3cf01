"""Which of the ordered candidates make the list: rules in force, compiled against a shelf.

`list_rules` gathers a placement's rules and a request's; `RuleEngine.choose` walks an ordered pool.
Filter and exclude have done their work before (`allowed`, `hidden`). Variants of one product never
stand in one list. Quotas, diversity and what rests give way where the list would get short.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import numpy as np

from recsys.catalog.coded_column import Codes
from recsys.catalog.live import LiveCatalog
from recsys.catalog.rules import NO_RULES, Rule, Rules, Where, named
from recsys.ids import NONE, Mask, Numbers, Scores

VARIANTS: Final = "variants"
RESTING: Final = "resting"
REQUEST: Final = "request"


@dataclass(frozen=True, slots=True)
class Effect:
    """How many candidates a rule took out of the list, or moved in it."""

    rule: str
    removed: int = 0
    moved: int = 0


@dataclass(frozen=True, slots=True)
class _Cap:
    """At most so many items of one code; code −1 is free."""

    name: str
    codes: Codes
    at_most: int


@dataclass(frozen=True, slots=True)
class _Quota:
    name: str
    mask: Mask
    at_least: int
    at_most: int | None


@dataclass(frozen=True, slots=True)
class RuleEngine:
    """The rules of one list, ready to be applied.

    `barriers` are the hard rules, name and mask of what passes; `hidden` are items that were
    excluded one by one; `pins` are position → row number.
    """

    barriers: tuple[tuple[str, Mask], ...] = ()
    hidden: Numbers = field(default_factory=lambda: NONE)
    boosts: tuple[tuple[str, Mask, float], ...] = ()
    pins: tuple[tuple[int, int], ...] = ()
    quotas: tuple[_Quota, ...] = ()
    caps: tuple[_Cap, ...] = ()

    @property
    def families(self) -> Codes | None:
        """Product of each item, where some have variants."""
        return next((cap.codes for cap in self.caps if cap.name == VARIANTS), None)

    @property
    def take_the_best(self) -> bool:
        """Whether the list is the first n of the pool, whatever they are."""
        return not (self.pins or self.quotas or self.caps)

    def allowed(self, eligible: Mask) -> Mask:
        """What is left of the eligible items behind the hard rules."""
        for _, mask in self.barriers:
            eligible = eligible & mask
        return eligible

    def boosted(self, numbers: Numbers, scores: Scores) -> Scores:
        """The scores times the factors of all boosts that match."""
        for _, mask, factor in self.boosts:
            scores = np.where(mask[numbers], scores * np.float32(factor), scores)
        return scores

    def choose(
        self, pool: Numbers, n: int, *, resting: Numbers = NONE, may_give_way: bool = False
    ) -> Choice:
        """The places in `pool` (best first, distinct) of at most n items, pins among them.

        Strict, no soft rule is broken; where they may give way, what they held back fills the list
        in the order of the pool.
        """
        if self.take_the_best and not len(resting):
            return Choice(tuple(range(min(n, len(pool)))), frozenset(), (), ())
        walk = _Walk(self, pool, n, resting)
        walk.pin()
        walk.reserve()
        walk.fill()
        if may_give_way and len(walk.chosen) < n:
            walk.fill(strict=False)
        return walk.choice()


@dataclass(frozen=True, slots=True)
class Choice:
    """Places in the pool in the order of the list, which of them are pinned, and what is missing.

    `wanting` are masks of what quotas still lack; `effects` say what each soft rule did.
    """

    places: tuple[int, ...]
    pinned: frozenset[int]
    wanting: tuple[Mask, ...]
    effects: tuple[Effect, ...]


def list_rules(
    live_catalog: LiveCatalog,
    now: datetime,
    rules: Sequence[Rule] = (),
    request: Rules = NO_RULES,
    *,
    segments: Collection[str] = (),
) -> RuleEngine:
    """The rules that are in force for people of these segments, those of the request last; where
    none asks for a kind of content, the list holds products."""
    parts: list[tuple[str, Rules]] = list(named(rules, now, segments))
    if not request.say_nothing:
        parts.append((REQUEST, request))
    columns, vocabulary = live_catalog.columns, live_catalog.catalog.vocabulary
    barriers: list[tuple[str, Mask]] = []
    boosts: list[tuple[str, Mask, float]] = []
    pins: dict[int, int] = {}
    quotas: list[_Quota] = []
    caps: list[_Cap] = []
    hidden: list[Numbers] = []
    if not any(part.filter is not None and part.filter.asks_for_kind for _, part in parts):
        products = columns.only_products
        if products is not None:
            barriers.append(("kind", products))
    for name, part in parts:
        if part.filter is not None:
            barriers.append((f"{name}.filter", columns.mask(part.filter)))
        if isinstance(part.exclude, Where):
            barriers.append((f"{name}.exclude", ~columns.mask(part.exclude)))
        elif part.exclude:
            hidden.append(vocabulary.known(part.exclude))
        for place, boost in enumerate(part.boost):
            boosts.append((f"{name}.boost[{place}]", columns.mask(boost.where), boost.factor))
        for pin in part.pin:
            number = vocabulary.number(pin.item_id)
            if number is not None:
                pins = {at: other for at, other in pins.items() if other != number}
                pins[pin.position] = number
        for place, quota in enumerate(part.quota):
            mask = columns.mask(quota.where)
            quotas.append(
                _Quota(f"{name}.quota[{place}]", mask, quota.at_least or 0, quota.at_most)
            )
        for place, one in enumerate(part.diversity):
            codes = columns.codes(one.per, depth=one.depth)
            caps.append(_Cap(f"{name}.diversity[{place}]", codes, one.at_most))
    families = columns.families
    if families is not None:
        caps.append(_Cap(VARIANTS, families, 1))
    return RuleEngine(
        barriers=tuple(barriers),
        hidden=np.concatenate(hidden) if hidden else NONE,
        boosts=tuple(boosts),
        pins=tuple(sorted(pins.items())),
        quotas=tuple(quotas),
        caps=tuple(caps),
    )


class _Walk:
    """One walk over a pool: what was chosen so far, and how much room each rule leaves."""

    def __init__(self, rules: RuleEngine, pool: Numbers, n: int, resting: Numbers) -> None:
        self._rules = rules
        self._n = n
        self._numbers: list[int] = pool.tolist()
        self._rests = np.isin(pool, resting).tolist() if len(resting) else None
        self._codes = [cap.codes[pool].tolist() for cap in rules.caps]
        self._counts: list[dict[int, int]] = [{} for _ in rules.caps]
        self._in_quota = [quota.mask[pool].tolist() for quota in rules.quotas]
        self._filled = [0] * len(rules.quotas)
        self._refused: dict[str, int] = {}
        self._pinned: dict[int, int] = {}
        self.chosen: dict[int, None] = {}

    def pin(self) -> None:
        """Takes the pinned items that the pool holds."""
        if not self._rules.pins:
            return
        place_of = {number: place for place, number in enumerate(self._numbers)}
        for position, number in self._rules.pins:
            place = place_of.get(number)
            if place is None or len(self.chosen) == self._n or self._obstacle(place, hard=True):
                continue
            self._take(place)
            self._pinned[position] = place

    def reserve(self) -> None:
        """Takes the best of what quotas ask for at least."""
        for index, quota in enumerate(self._rules.quotas):
            for place, belongs in enumerate(self._in_quota[index]):
                if self._filled[index] >= quota.at_least or len(self.chosen) == self._n:
                    break
                if belongs and place not in self.chosen and self._obstacle(place) is None:
                    self._take(place)

    def fill(self, *, strict: bool = True) -> None:
        """Takes the best of the rest; not strict, only variants still count."""
        for place in range(len(self._numbers)):
            if len(self.chosen) == self._n:
                break
            if place in self.chosen:
                continue
            obstacle = self._obstacle(place, hard=not strict)
            if obstacle is None:
                self._take(place)
            elif strict:
                self._refused[obstacle] = self._refused.get(obstacle, 0) + 1

    def choice(self) -> Choice:
        """The list: in the order of the pool, with the pinned items at their positions."""
        held = set(self._pinned.values())
        order = [place for place in sorted(self.chosen) if place not in held]
        for position, place in sorted(self._pinned.items()):
            order.insert(position, place)
        effects = [Effect(name, removed=count) for name, count in self._refused.items()]
        if self._pinned:
            effects.append(Effect("pin", moved=len(self._pinned)))
        wanting = tuple(
            quota.mask
            for quota, filled in zip(self._rules.quotas, self._filled, strict=True)
            if filled < quota.at_least
        )
        return Choice(tuple(order), frozenset(held), wanting, tuple(effects))

    def _obstacle(self, place: int, *, hard: bool = False) -> str | None:
        """The first rule that refuses this place; `hard` asks about variants alone."""
        for cap, codes, counts in zip(self._rules.caps, self._codes, self._counts, strict=True):
            if hard and cap.name != VARIANTS:
                continue
            code = codes[place]
            if code >= 0 and counts.get(code, 0) >= cap.at_most:
                return cap.name
        if hard:
            return None
        for index, quota in enumerate(self._rules.quotas):
            full = quota.at_most is not None and self._filled[index] >= quota.at_most
            if full and self._in_quota[index][place]:
                return quota.name
        if self._rests is not None and self._rests[place]:
            return RESTING
        return None

    def _take(self, place: int) -> None:
        self.chosen[place] = None
        for codes, counts in zip(self._codes, self._counts, strict=True):
            counts[codes[place]] = counts.get(codes[place], 0) + 1
        for index, belongs in enumerate(self._in_quota):
            self._filled[index] += belongs[place]
