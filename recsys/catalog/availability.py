"""`LiveCatalog`: which items can be sold now; the bundle's catalogue with the changes since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from recsys.catalog.columns import ItemColumns
from recsys.catalog.items import Catalog, Item
from recsys.ids import Mask


@dataclass(frozen=True, slots=True)
class LiveCatalog:
    """The live state of the catalogue over a bundle's row numbers. Immutable.

    `in_stock` is false for what is sold out or withdrawn; `opens` and `closes` are epoch seconds
    (±inf where the item has no date); `items[n]` is the newest description. `born` is when an item
    came into the shop, epoch seconds: its `opens`, else when it was first seen (−inf where that is
    unknown, +inf where it has no event yet). `price_ranks` are 0 for the cheapest of a category to
    1 for the dearest, NaN without a price, by the bundle's catalogue. `dates` are all finite
    moments of `opens` and `closes`, ascending.
    """

    catalog: Catalog
    items: tuple[Item, ...]
    in_stock: Mask
    opens: NDArray[np.float64]
    closes: NDArray[np.float64]
    on_sale: Mask
    born: NDArray[np.float64]
    price_ranks: NDArray[np.float32]
    columns: ItemColumns
    dates: NDArray[np.float64]
    revision: int = 0
    _eligible: dict[str, tuple[float, float, Mask]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """The newest mask of `eligible`, and from when until when it holds."""

    def __repr__(self) -> str:
        return f"<LiveCatalog of {len(self.items):,} items, {int(self.in_stock.sum()):,} offered>"

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        *,
        revision: int = 0,
        first_seen: NDArray[np.float64] | None = None,
    ) -> LiveCatalog:
        """The state in the bundle's catalogue; `first_seen` as in `Bundle.first_seen`."""
        items = catalog.items
        if first_seen is None:
            first_seen = np.full(len(items), -np.inf)
        opens = np.fromiter((_opens(item) for item in items), np.float64, len(items))
        closes = np.fromiter((_closes(item) for item in items), np.float64, len(items))
        return cls(
            catalog=catalog,
            items=items,
            in_stock=np.fromiter((_in_stock(item) for item in items), np.bool_, len(items)),
            opens=opens,
            closes=closes,
            on_sale=np.fromiter((item.on_sale for item in items), np.bool_, len(items)),
            born=np.where(np.isfinite(opens), opens, np.nan_to_num(first_seen, nan=np.inf)),
            price_ranks=price_ranks(catalog),
            columns=ItemColumns.of(catalog),
            dates=_dates(opens, closes),
            revision=revision,
        )

    def with_changes(self, items: Sequence[Item], *, revision: int) -> LiveCatalog:
        """The state after these items were put, those that the bundle does not know left out."""
        known = [
            (number, item)
            for item in items
            if (number := self.catalog.vocabulary.number(item.item_id)) is not None
        ]
        newest = list(self.items)
        in_stock, opens, closes = self.in_stock.copy(), self.opens.copy(), self.closes.copy()
        on_sale, born = self.on_sale.copy(), self.born.copy()
        for number, item in known:
            newest[number] = item
            in_stock[number] = _in_stock(item)
            opens[number], closes[number] = _opens(item), _closes(item)
            on_sale[number] = item.on_sale
            if item.available_from is not None:
                born[number] = opens[number]
        changed = [number for number, _ in known]
        same_dates = all(
            np.array_equal(before[changed], after[changed])
            for before, after in ((self.opens, opens), (self.closes, closes))
        )
        return replace(
            self,
            items=tuple(newest),
            in_stock=in_stock,
            opens=opens,
            closes=closes,
            on_sale=on_sale,
            born=born,
            columns=self.columns.with_changes(newest, changed),
            dates=self.dates if same_dates else _dates(opens, closes),
            revision=revision,
        )

    def eligible(self, now: datetime) -> Mask:
        """Mask over row numbers of the items that can be sold at `now`: in stock, not withdrawn and
        within their dates. Read-only."""
        moment = now.timestamp()
        since, until, mask = self._eligible.get("newest", (np.inf, -np.inf, self.in_stock))
        if since <= moment < until:
            return mask
        mask = self.in_stock & (self.opens <= moment) & (moment < self.closes)
        mask.setflags(write=False)
        # Nothing changes between one date of any item and the next.
        passed = int(np.searchsorted(self.dates, moment, side="right"))
        since = float(self.dates[passed - 1]) if passed else -np.inf
        until = float(self.dates[passed]) if passed < len(self.dates) else np.inf
        self._eligible["newest"] = (since, until, mask)
        return mask

    def new_since(self, time: float) -> Mask:
        """Mask over row numbers: what came into the shop after a time in epoch seconds."""
        return self.born > time


def price_ranks(catalog: Catalog) -> NDArray[np.float32]:
    """Where each price stands in its category, 0 for the cheapest to 1 for the dearest; NaN without
    a price, ½ where the category has no other price. Items of no category are ranked together."""
    ranks = np.full(len(catalog), np.nan, np.float32)
    priced = np.flatnonzero(np.isfinite(catalog.prices))
    if not len(priced):
        return ranks
    order = priced[np.lexsort((catalog.prices[priced], catalog.categories[priced]))]
    codes, prices = catalog.categories[order], catalog.prices[order]
    begins = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    sizes = np.diff(np.append(begins, len(order)))
    # Equal prices share their mean rank.
    steps = np.flatnonzero(
        (np.diff(codes, prepend=codes[0] - 1) != 0) | (np.diff(prices, prepend=-1) != 0)
    )
    widths = np.diff(np.append(steps, len(order)))
    positions = np.repeat(steps + (widths - 1) / 2, widths) - np.repeat(begins, sizes)
    among = np.repeat(sizes - 1, sizes)
    ranks[order] = np.where(among > 0, positions / np.maximum(among, 1), 0.5)
    return ranks


def _dates(opens: NDArray[np.float64], closes: NDArray[np.float64]) -> NDArray[np.float64]:
    dates = np.concatenate([opens[np.isfinite(opens)], closes[np.isfinite(closes)]])
    return np.unique(dates)


def _in_stock(item: Item) -> bool:
    return not item.withdrawn and (item.stock is None or item.stock > 0)


def _opens(item: Item) -> float:
    return -np.inf if item.available_from is None else item.available_from.timestamp()


def _closes(item: Item) -> float:
    return np.inf if item.available_until is None else item.available_until.timestamp()
