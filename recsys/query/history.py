"""A person's events, as rows of the store and as arrays over the items of a bundle."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from recsys.events.schema import PURCHASE
from recsys.ids import NONE, Numbers
from recsys.kernels import summed


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One row of a person's history: an item and what was done with it.

    `item_id` is empty for a custom event without items and for feedback on a brand or a category.
    A struct, since an answer makes hundreds of them: a frozen dataclass takes six times as long.
    """

    item_id: str
    kind: str
    time: float
    """Epoch seconds."""
    session_id: str | None = None
    action: str | None = None
    """What a `feedback` event said of the item, brand or category (`not_interested`, …)."""
    name: str | None = None
    """The shop's name of a `custom` event."""
    brand: str | None = None
    category: str | None = None
    """A path as one text (`Home > Kitchen`): what feedback was about."""
    days: float | None = None
    """How long a `snooze` lasts; None for the usual time."""


@dataclass(frozen=True, slots=True)
class History:
    """A person's events with items, oldest first: parallel arrays of one length.

    `weights` are by kind and decayed to the moment of asking (`Weighting.weights`); `times` are
    epoch seconds; items that the bundle does not know are left out.
    """

    items: Numbers
    kinds: NDArray[np.int8]
    times: NDArray[np.float64]
    weights: NDArray[np.float32]
    _totals: dict[str, tuple[Numbers, NDArray[np.float32]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What `totals` gave, since each model of a placement asks for it."""

    def __len__(self) -> int:
        return len(self.items)

    def totals(self) -> tuple[Numbers, NDArray[np.float32]]:
        """Distinct items (ascending) and their summed weights, only those above zero.

        Sums that cancel leave a rest of rounding, which is no interest in the item: what is below
        a millionth of the gross sum counts as zero, in training as well.
        """
        if not len(self.items):
            return NONE, np.empty(0, np.float32)
        known = self._totals.get("known")
        if known is None:
            items, totals, gross = summed(self.items, self.weights)
            positive = totals > 1e-6 * gross
            known = self._totals["known"] = (items[positive], totals[positive])
        return known

    def distinct(self) -> Numbers:
        """Distinct items, ascending."""
        return np.unique(self.items)

    def purchases(self) -> History:
        """The purchase events alone."""
        chosen = self.kinds == PURCHASE
        return History(
            self.items[chosen], self.kinds[chosen], self.times[chosen], self.weights[chosen]
        )

    def since(self, time: float) -> History:
        """The events at or after a time in epoch seconds."""
        first = int(np.searchsorted(self.times, time))
        return History(
            self.items[first:], self.kinds[first:], self.times[first:], self.weights[first:]
        )


NO_HISTORY = History(NONE, np.empty(0, np.int8), np.empty(0, np.float64), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class UnclickedImpressions:
    """What was shown lately without a click: items, how often, and when last (epoch seconds)."""

    items: Numbers = field(default_factory=lambda: NONE)
    times: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    newest: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))


NO_SHOWN = UnclickedImpressions()
