"""Diversity, quotas, pins and one variant per item group: a greedy selection from an ordered pool.

`GreedySelection` goes through the pool from its best item on and selects what no rule blocks.
Variants are never repeated, and the minimum of a quota comes before everything but pins. Diversity
and then the maximum of a quota give way where a minimum or the length of the list needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from recsys.catalog.coded_column import Codes
from recsys.ids import Mask, Numbers

VARIANTS: Final = "variants"
"""The name of the rule of one variant per item group, in effects."""


class Strictness(IntEnum):
    """Which rules block an item: variants alone, quotas' maxima too, or diversity too."""

    VARIANTS_ALONE = 0
    MAXIMA = 1
    ALL = 2


GIVING_WAY: Final = (Strictness.MAXIMA, Strictness.VARIANTS_ALONE)
"""The order in which rules give way: diversity first, then the maxima of quotas."""


@dataclass(frozen=True, slots=True)
class Effect:
    """How many candidates a rule removed from a list or moved within it."""

    rule: str
    removed: int = 0
    moved: int = 0


@dataclass(frozen=True, slots=True)
class ItemCap:
    """At most `at_most` items of each code (diversity); code −1 is not limited."""

    name: str
    codes: Codes = field(repr=False)
    at_most: int


@dataclass(frozen=True, slots=True)
class ItemQuota:
    """At least `at_least` and at most `at_most` items of the mask."""

    name: str
    mask: Mask = field(repr=False)
    at_least: int
    at_most: int | None


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected items as indices into the pool, in the order of the list.

    `pinned` are those of them that a rule pinned; `unmet_quotas` the masks of quotas whose minimum
    is not reached; `effects` what each soft rule did.
    """

    indices: tuple[int, ...]
    pinned: frozenset[int]
    unmet_quotas: tuple[Mask, ...] = field(repr=False)
    effects: tuple[Effect, ...]


class GreedySelection:
    """What is selected from a pool (distinct, best first) so far, and what each rule still allows.

    Items are addressed by their index in the pool.
    """

    def __init__(
        self, pool: Numbers, n: int, quotas: Sequence[ItemQuota], caps: Sequence[ItemCap]
    ) -> None:
        self._n = n
        self._quotas = quotas
        self._caps = caps
        self._numbers: list[int] = pool.tolist()
        self._codes = [cap.codes[pool].tolist() for cap in caps]
        self._cap_counts: list[dict[int, int]] = [{} for _ in caps]
        self._in_quota = [quota.mask[pool].tolist() for quota in quotas]
        self._quota_counts = [0] * len(quotas)
        self._blocked: dict[str, int] = {}
        self._pinned: dict[int, int] = {}
        self._selected: dict[int, None] = {}

    def pin(self, pins: Sequence[tuple[int, int]]) -> None:
        """Selects the pinned items that are in the pool; `pins` are (position, item number)."""
        if not pins:
            return
        index_of = {number: index for index, number in enumerate(self._numbers)}
        for position, number in pins:
            index = index_of.get(number)
            if index is None or self._is_full:
                continue
            if self._blocking_rule(index, Strictness.VARIANTS_ALONE) is None:
                self._select(index)
                self._pinned[position] = index

    def reserve(self, strictness: Strictness = Strictness.ALL) -> None:
        """Selects the best items of each quota up to its minimum.

        Where the list is too short for each minimum by itself, items that count for several quotas
        come first.
        """
        while not self._is_full and sum(self._missing()) > self._n - len(self._selected):
            shared = self._most_shared(strictness)
            if shared is None:
                break
            self._select(shared)
        for row, quota in enumerate(self._quotas):
            for index, matches in enumerate(self._in_quota[row]):
                if self._quota_counts[row] >= quota.at_least or self._is_full:
                    break
                if matches and self._may_select(index, strictness):
                    self._select(index)

    def fill(self, strictness: Strictness = Strictness.ALL) -> None:
        """Selects the best of the rest."""
        for index in range(len(self._numbers)):
            if self._is_full:
                break
            if index in self._selected:
                continue
            rule = self._blocking_rule(index, strictness)
            if rule is None:
                self._select(index)
            elif strictness is Strictness.ALL:
                self._blocked[rule] = self._blocked.get(rule, 0) + 1

    def result(self) -> Selection:
        """The selected items in the order of the pool, the pinned ones at their positions."""
        pinned = set(self._pinned.values())
        order = [index for index in sorted(self._selected) if index not in pinned]
        for position, index in sorted(self._pinned.items()):
            order.insert(position, index)
        effects = [Effect(name, removed=count) for name, count in self._blocked.items()]
        if self._pinned:
            effects.append(Effect("pin", moved=len(self._pinned)))
        unmet = tuple(
            quota.mask
            for quota, count in zip(self._quotas, self._quota_counts, strict=True)
            if count < quota.at_least
        )
        return Selection(tuple(order), frozenset(pinned), unmet, tuple(effects))

    @property
    def _is_full(self) -> bool:
        return len(self._selected) == self._n

    def _missing(self) -> list[int]:
        """Per quota how many items it lacks of its minimum."""
        return [
            max(quota.at_least - count, 0)
            for quota, count in zip(self._quotas, self._quota_counts, strict=True)
        ]

    def _most_shared(self, strictness: Strictness) -> int | None:
        """The best of the items that count for most of the quotas below their minimum; None where
        none counts for two."""
        short = [row for row, missing in enumerate(self._missing()) if missing]
        counts = [
            (sum(self._in_quota[row][index] for row in short), -index)
            for index in range(len(self._numbers))
            if self._may_select(index, strictness)
        ]
        count, negated = max(counts, default=(0, 0))
        return -negated if count > 1 else None

    def _may_select(self, index: int, strictness: Strictness) -> bool:
        return index not in self._selected and self._blocking_rule(index, strictness) is None

    def _blocking_rule(self, index: int, strictness: Strictness) -> str | None:
        """The name of the first rule that does not allow this item now; None where all do."""
        for cap, codes, counts in zip(self._caps, self._codes, self._cap_counts, strict=True):
            if strictness < Strictness.ALL and cap.name != VARIANTS:
                continue
            code = codes[index]
            if code >= 0 and counts.get(code, 0) >= cap.at_most:
                return cap.name
        if strictness is Strictness.VARIANTS_ALONE:
            return None
        for row, quota in enumerate(self._quotas):
            full = quota.at_most is not None and self._quota_counts[row] >= quota.at_most
            if full and self._in_quota[row][index]:
                return quota.name
        return None

    def _select(self, index: int) -> None:
        self._selected[index] = None
        for codes, counts in zip(self._codes, self._cap_counts, strict=True):
            counts[codes[index]] = counts.get(codes[index], 0) + 1
        for row, matches in enumerate(self._in_quota):
            self._quota_counts[row] += matches[index]
