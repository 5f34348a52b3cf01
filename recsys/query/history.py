"""A person's events, as rows of the store and as arrays over the items of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from recsys.events.schema import KIND_NUMBER, PURCHASE
from recsys.ids import NONE, Mask, Numbers, Vocabulary
from recsys.kernels import summed

FEEDBACK: Final = KIND_NUMBER["feedback"]
LISTED: Final = KIND_NUMBER["view_item_list"]
CUSTOM: Final = KIND_NUMBER["custom"]


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One row of a person's history: an item and what was done with it.

    `item_id` is empty for a custom event without items and for feedback on a brand or a category.
    A struct, since a request makes hundreds of them: a frozen dataclass takes six times as long.
    """

    item_id: str
    kind: str
    time: float
    """Epoch seconds."""
    session_id: str | None = None
    action: str | None = None
    """The action of a `feedback` event on the item, brand or category (`not_interested`, …)."""
    name: str | None = None
    """The shop's name of a `custom` event."""
    brand: str | None = None
    category: str | None = None
    """A category path as one text (`Home > Kitchen`): the target of feedback."""
    days: float | None = None
    """How long a `snooze` lasts; None for the usual time."""


@dataclass(frozen=True, slots=True)
class EventRows:
    """One person's events over the items of a vocabulary, oldest first: parallel arrays.

    `items` are −1 where the event names none or one that the vocabulary lacks; `times` are epoch
    seconds. `details` are the `feedback` and `custom` events among them in full. `visit` marks the
    rows of the visit under way where its session id is known, None where it is not.
    """

    items: Numbers
    kinds: NDArray[np.int8]
    times: NDArray[np.float64]
    details: Sequence[StoredEvent] = ()
    visit: Mask | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"<EventRows of {len(self):,} events>"


NO_ROWS: Final = EventRows(NONE, np.empty(0, np.int8), np.empty(0, np.float64))


def event_rows(
    events: Sequence[StoredEvent], items: Vocabulary, *, session_id: str | None = None
) -> EventRows:
    """Stored events (oldest first) as rows; `session_id` names the visit under way."""
    if not events:
        return NO_ROWS
    kinds = np.array([KIND_NUMBER[event.kind] for event in events], np.int8)
    detailed = np.flatnonzero((kinds == FEEDBACK) | (kinds == CUSTOM)).tolist()
    return EventRows(
        items.numbers([event.item_id for event in events]),
        kinds,
        np.array([event.time for event in events], np.float64),
        details=tuple(events[row] for row in detailed),
        visit=None
        if session_id is None
        else np.array([event.session_id == session_id for event in events], np.bool_),
    )


@dataclass(frozen=True, slots=True)
class History:
    """A person's events with known items, oldest first: parallel arrays of one length.

    `weights` are by kind, decayed to the moment of the query (`Weighting.weights`); `times` are
    epoch seconds.
    """

    items: Numbers
    kinds: NDArray[np.int8]
    times: NDArray[np.float64]
    weights: NDArray[np.float32]
    _totals: dict[str, tuple[Numbers, NDArray[np.float32]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Cache of `totals`, which each model of a placement needs."""

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"<History of {len(self):,} events>"

    def totals(self) -> tuple[Numbers, NDArray[np.float32]]:
        """Distinct items (ascending) and their summed weights, only those above zero.

        Sums that cancel leave a rounding error: below a millionth of the gross sum they count as
        zero, in training as well.
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

    def where(self, chosen: Mask) -> History:
        """The events for which the mask is true."""
        return History(
            self.items[chosen], self.kinds[chosen], self.times[chosen], self.weights[chosen]
        )

    def purchases(self) -> History:
        """The purchase events alone."""
        return self.where(self.kinds == PURCHASE)

    def since(self, time: float) -> History:
        """The events at or after a time in epoch seconds."""
        first = int(np.searchsorted(self.times, time))
        return History(
            self.items[first:], self.kinds[first:], self.times[first:], self.weights[first:]
        )


NO_HISTORY = History(NONE, np.empty(0, np.int8), np.empty(0, np.float64), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class UnclickedImpressions:
    """Items that were listed since the person last did something with them: how often (`times`)
    and when last (`newest`, epoch seconds)."""

    items: Numbers = field(default_factory=lambda: NONE)
    times: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    newest: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))


NO_IMPRESSIONS: Final = UnclickedImpressions()


def unclicked_impressions(history: History) -> UnclickedImpressions:
    """How often each item was listed since the person last did something with it."""
    listed = history.kinds == LISTED
    if not listed.any():
        return NO_IMPRESSIONS
    items, row_of = np.unique(history.items[listed], return_inverse=True)
    times = history.times[listed]
    touched = np.full(len(items), -np.inf)
    done = ~listed & np.isin(history.items, items)
    np.maximum.at(touched, np.searchsorted(items, history.items[done]), history.times[done])
    since = times > touched[row_of]
    newest = np.full(len(items), -np.inf)
    np.maximum.at(newest, row_of, times)
    counts = np.bincount(row_of[since], minlength=len(items)).astype(np.int32)
    kept = counts > 0
    return UnclickedImpressions(items[kept], counts[kept], newest[kept])
