"""Inverted index of past visits by item.

The recency-pruned inverted index of VMIS-kNN (Kersbergen, Sprangers, Schelter: Serenade, SIGMOD
2022): item → its newest visits; and visit → its items in the order of the clicks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError, InsufficientData
from recsys.events.pseudonyms import Pseudonyms, pseudonyms_of
from recsys.ids import Array, Numbers
from recsys.models.scoring.personal_rows import kept_rows
from recsys.models.scoring.saved_arrays import array_of, same_length

ARRAYS: Final[Mapping[str, str]] = {
    "starts": "i",
    "items": "i",
    "times": "f",
    "owners": "u",
    "item_starts": "i",
    "item_visits": "i",
    "rarity": "f",
}
"""The saved arrays and the kind of their dtype."""


@dataclass(frozen=True, slots=True)
class SessionIndex:
    """Visits in the order of their newest click, so that a higher number is a newer visit.

    Visit v clicked `items[starts[v]:starts[v + 1]]`, the last at `times[v]` (epoch seconds), and
    was made by `owners[v]`. Item i was clicked in `item_visits[item_starts[i]:item_starts[i + 1]]`,
    newest first, pruned; `rarity[i]` is ln(visits / visits with i), 1 where that is not above zero.
    All arrays are read-only.
    """

    starts: NDArray[np.int64]
    items: Numbers
    times: NDArray[np.float64]
    owners: Pseudonyms
    item_starts: NDArray[np.int64]
    item_visits: Numbers
    rarity: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        starts: NDArray[np.int64],
        items: Numbers,
        times: NDArray[np.float64],
        owners: Pseudonyms,
        *,
        n_items: int,
        visits_per_item: int,
    ) -> SessionIndex:
        """The index of visits that are in order of time already."""
        counts, frequencies = _posting_sizes(starts, items, n_items, visits_per_item)
        item_starts = np.zeros(n_items + 1, np.int64)
        np.cumsum(counts, out=item_starts[1:])
        item_visits = _postings(starts, items, item_starts)
        rarity = np.log(max(len(times), 1) / np.maximum(frequencies, 1))
        rarity = np.where(rarity > 0, rarity, 1.0).astype(np.float32)
        arrays = (starts, items, times, owners, item_starts, item_visits, rarity)
        return cls(*(_read_only(array) for array in arrays))

    def drop_users(self, users: Pseudonyms, *, visits_per_item: int) -> SessionIndex:
        """The index without the visits of these users; itself where they have none."""
        kept = kept_rows(self.owners, users)
        if kept.all():
            return self
        lengths = np.diff(self.starts)
        starts = np.zeros(int(kept.sum()) + 1, np.int64)
        np.cumsum(lengths[kept], out=starts[1:])
        return SessionIndex.of(
            starts,
            self.items[np.repeat(kept, lengths)],
            self.times[kept],
            self.owners[kept],
            n_items=len(self.rarity),
            visits_per_item=visits_per_item,
        )

    def arrays(self) -> Mapping[str, Array]:
        """The arrays by their names."""
        return {name: getattr(self, name) for name in ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> SessionIndex:
        """The index over the same memory; BundleError where an array is missing or misshapen."""
        index = cls(
            *(
                _read_only(array_of(arrays, name, dimensions=1, kind=kind))
                for name, kind in ARRAYS.items()
            )
        )
        n_visits, n_items = same_length(arrays, ("times", "owners")), len(index.rarity)
        for name, of, starts, members, n in (
            ("items", n_visits, index.starts, index.items, n_items),
            ("item_visits", n_items, index.item_starts, index.item_visits, n_visits),
        ):
            if (
                len(starts) != of + 1
                or starts[0] != 0
                or starts[-1] != len(members)
                or np.any(starts[1:] < starts[:-1])
                or (len(members) and not (members.min() >= 0 and members.max() < n))
            ):
                raise BundleError(f"Array {name!r} does not fit its starts; rebuild the bundle.")
        return index


def index_sessions(
    data: TrainingData, *, max_visits: int, max_length: int, visits_per_item: int
) -> SessionIndex:
    """The newest `max_visits` visits of two clicks or more, each its newest `max_length` clicks.

    A click is an event of a kind that weighs more than nothing; the same item twice running is one
    click. InsufficientData where the timeline has no visits.
    """
    timeline = data.timeline
    if len(timeline.sessions) != len(timeline.items):
        raise InsufficientData("The timeline has no visits; give `Timeline.sessions`.")
    chosen = data.weighting.by_number()[timeline.kinds] > 0
    visits, items = timeline.sessions[chosen], timeline.items[chosen]
    first = np.diff(visits, prepend=-1) != 0
    is_click = first | (np.diff(items, prepend=-1) != 0)
    visits, items = visits[is_click], items[is_click]
    times, users = timeline.times[chosen][is_click], timeline.users[chosen][is_click]
    begins = np.flatnonzero(np.diff(visits, prepend=-1) != 0)
    ends = np.append(begins[1:], len(visits))[: len(begins)]
    long_enough = ends - begins > 1
    begins, ends = begins[long_enough], ends[long_enough]
    newest = times[ends - 1]
    order = np.argsort(newest, kind="stable")[-max_visits:]
    begins, ends = begins[order], ends[order]
    begins = np.maximum(begins, ends - max_length)
    starts = np.zeros(len(order) + 1, np.int64)
    np.cumsum(ends - begins, out=starts[1:])
    rows = np.arange(starts[-1]) + np.repeat(begins - starts[:-1], ends - begins)
    customers, customer = np.unique(users[ends - 1], return_inverse=True)
    owners = pseudonyms_of([data.users.id(number) for number in customers.tolist()])[customer]
    return SessionIndex.of(
        starts,
        items[rows],
        newest[order],
        owners,
        n_items=len(data.items),
        visits_per_item=visits_per_item,
    )


def _read_only(array: Array) -> Array:
    """The same memory, not to be written: one kind of array for the compiled kernels."""
    view = array.view()
    view.setflags(write=False)
    return view


@njit(cache=True, nogil=True)
def _posting_sizes(
    starts: NDArray[np.int64], items: Numbers, n_items: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per item the visits that are kept and all that there are."""
    kept = np.zeros(n_items, np.int64)
    every = np.zeros(n_items, np.int64)
    last = np.full(n_items, -1, np.int64)
    for visit in range(len(starts) - 2, -1, -1):
        for click in range(starts[visit], starts[visit + 1]):
            item = items[click]
            if last[item] != visit:
                last[item] = visit
                every[item] += 1
                if kept[item] < most:
                    kept[item] += 1
    return kept, every


@njit(cache=True, nogil=True)
def _postings(starts: NDArray[np.int64], items: Numbers, item_starts: NDArray[np.int64]) -> Numbers:
    """The newest visits of each item, newest first."""
    n_items = len(item_starts) - 1
    postings = np.empty(item_starts[n_items], np.int32)
    filled = item_starts[:-1].copy()
    last = np.full(n_items, -1, np.int64)
    for visit in range(len(starts) - 2, -1, -1):
        for click in range(starts[visit], starts[visit + 1]):
            item = items[click]
            if last[item] != visit:
                last[item] = visit
                if filled[item] < item_starts[item + 1]:
                    postings[filled[item]] = visit
                    filled[item] += 1
    return postings
