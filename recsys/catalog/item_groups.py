"""Products of several variants: which items are one product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.catalog.coded_column import Codes
from recsys.catalog.items import Item
from recsys.ids import Numbers, Vocabulary


@dataclass(frozen=True, slots=True)
class ItemGroups:
    """Product of each item, and of the products with several variants their items."""

    of: Codes
    members: Mapping[int, Numbers]


def item_groups_of(items: Sequence[Item], vocabulary: Vocabulary) -> ItemGroups:
    """A product is the row number of the item that the others are variants of, or a number beyond
    all rows where that item is not known."""
    of = np.arange(len(items), dtype=np.int32)
    unknown: dict[str, int] = {}
    found: dict[int, set[int]] = {}
    for number, item in enumerate(items):
        if item.variant_of is None:
            continue
        known = vocabulary.number(item.variant_of)
        if known is None:
            known = unknown.setdefault(item.variant_of, len(items) + len(unknown))
        of[number] = known
        found.setdefault(known, {known} if known < len(items) else set()).add(number)
    return ItemGroups(
        of,
        {
            family: np.array(sorted(numbers), np.int32)
            for family, numbers in found.items()
            if len(numbers) > 1
        },
    )
