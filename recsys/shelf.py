"""`Shelf`: what may be shown now; the bundle's catalogue under the live changes since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from recsys.catalog import Catalog, Item
from recsys.query import Mask


@dataclass(frozen=True, slots=True)
class Shelf:
    """The live state of the catalogue over a bundle's row numbers. Immutable.

    `offered` says stocked and not withdrawn; `opens` and `closes` are epoch seconds (±inf where
    the item has no date); `items[n]` is the newest description.
    """

    catalog: Catalog
    items: tuple[Item, ...]
    offered: Mask
    opens: NDArray[np.float64]
    closes: NDArray[np.float64]
    revision: int = 0

    @classmethod
    def of(cls, catalog: Catalog, *, revision: int = 0) -> Shelf:
        """The shelf as the bundle's own catalogue has it."""
        items = catalog.items
        return cls(
            catalog=catalog,
            items=items,
            offered=np.fromiter((_offered(item) for item in items), np.bool_, len(items)),
            opens=np.fromiter((_opens(item) for item in items), np.float64, len(items)),
            closes=np.fromiter((_closes(item) for item in items), np.float64, len(items)),
            revision=revision,
        )

    def with_changes(self, items: Sequence[Item], *, revision: int) -> Shelf:
        """The shelf after these items were put; items that the bundle does not know wait for the
        next bundle."""
        known = [
            (number, item)
            for item in items
            if (number := self.catalog.vocabulary.number(item.item_id)) is not None
        ]
        newest = list(self.items)
        offered, opens, closes = self.offered.copy(), self.opens.copy(), self.closes.copy()
        for number, item in known:
            newest[number] = item
            offered[number] = _offered(item)
            opens[number], closes[number] = _opens(item), _closes(item)
        return Shelf(self.catalog, tuple(newest), offered, opens, closes, revision)

    def eligible(self, now: datetime) -> Mask:
        """Mask over row numbers: what may be shown at `now`."""
        moment = now.timestamp()
        return self.offered & (self.opens <= moment) & (moment < self.closes)


def _offered(item: Item) -> bool:
    return not item.withdrawn and (item.stock is None or item.stock > 0)


def _opens(item: Item) -> float:
    return -np.inf if item.available_from is None else item.available_from.timestamp()


def _closes(item: Item) -> float:
    return np.inf if item.available_until is None else item.available_until.timestamp()
