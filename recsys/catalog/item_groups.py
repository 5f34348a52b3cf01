"""Item groups: which items are variants of one product (Merchant Center's `item_group_id`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.catalog.coded_column import Codes
from recsys.catalog.items import Item
from recsys.ids import Numbers, Vocabulary


@dataclass(frozen=True, slots=True)
class ItemGroups:
    """`of` is the group of each item; `members` the items of each group of two or more."""

    of: Codes
    members: Mapping[int, Numbers]


def item_groups_of(items: Sequence[Item], vocabulary: Vocabulary) -> ItemGroups:
    """The groups by `Item.variant_of`.

    A group's number is the row of the item that the others are variants of, or a number beyond all
    rows where that item is unknown.
    """
    of = np.arange(len(items), dtype=np.int32)
    unknown: dict[str, int] = {}
    members: dict[int, set[int]] = {}
    for number, item in enumerate(items):
        if item.variant_of is None:
            continue
        known = vocabulary.number(item.variant_of)
        if known is None:
            known = unknown.setdefault(item.variant_of, len(items) + len(unknown))
        of[number] = known
        members.setdefault(known, {known} if known < len(items) else set()).add(number)
    return ItemGroups(
        of,
        {
            group: np.array(sorted(numbers), np.int32)
            for group, numbers in members.items()
            if len(numbers) > 1
        },
    )
