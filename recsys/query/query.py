"""`Query`: what is known when an answer is asked; `Model` and `Scorer`, which every model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recsys.events.schema import PURCHASE
from recsys.ids import NONE, Numbers
from recsys.kernels import summed
from recsys.query.preferences import NO_PREFERENCES, Preferences
from recsys.query.profile import UNKNOWN, Profile

Array = NDArray[Any]
Mask = NDArray[np.bool_]
"""One bool per item of the bundle."""
Scores = NDArray[np.float32]
"""One score per item asked for; NaN means no opinion."""


@dataclass(frozen=True, slots=True)
class ScoredItems:
    """Items with their scores, best first, no NaN."""

    numbers: Numbers
    scores: Scores

    def __len__(self) -> int:
        return len(self.numbers)


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
class Listed:
    """A list to order, as the search engine or listing page gave it: position 0 first.

    `scores` are the engine's, NaN where it gave none.
    """

    items: Numbers
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shown:
    """What was shown lately without a click: items, how often, and when last (epoch seconds)."""

    items: Numbers = field(default_factory=lambda: NONE)
    times: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    newest: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))


NO_SHOWN = Shown()


@dataclass(frozen=True, slots=True)
class Context:
    """The moment and the place; None where the shop did not say. `weekday` 0 is Monday."""

    channel: str | None = None
    device: str | None = None
    country: str | None = None
    hour: int | None = None
    weekday: int | None = None
    referrer: str | None = None
    search_term: str | None = None
    values: Mapping[str, str | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Query:
    """What is known at the moment of asking, never more."""

    now: datetime
    history: History = NO_HISTORY
    session: History = NO_HISTORY
    account: History | None = None
    seeds: Numbers = field(default_factory=lambda: NONE)
    listed: Listed | None = None
    shown: Shown = NO_SHOWN
    refused: Numbers = field(default_factory=lambda: NONE)
    """Items that the person does not want to see (`recsys.query.feedback`)."""
    disliked: Numbers = field(default_factory=lambda: NONE)
    """Those of them that the person disliked: what is like them weighs less."""
    profile: Profile = UNKNOWN
    preferences: Preferences = NO_PREFERENCES
    context: Context = field(default_factory=Context)
    segments: tuple[str, ...] = ()
    """The rule-made segments that hold now (`recsys.query.segments`)."""
    known: bool = False
    """Whether the person is a customer with a `user_id` (else a visitor)."""

    @property
    def country(self) -> str | None:
        """The country of the moment, else the declared one."""
        return self.context.country or self.profile.country


@dataclass(frozen=True, slots=True)
class Contribution:
    """How much one thing that is known added to a score.

    `kind` is `history`, `seed`, `trait` or `everybody`; `item` the row number of the history item
    or seed, None otherwise; `share` a fraction of the score.
    """

    kind: str
    share: float
    item: int | None = None
    trait: str | None = None


Contributions = tuple[Contribution, ...]


class Scorer(Protocol):
    """A model that has folded a batch of queries in; one row per query."""

    def retrieve(self, n: int, eligible: Mask) -> list[ScoredItems]:
        """Each row's best n among the eligible items; empty where the model has no opinion."""
        ...

    def score(self, items: Sequence[Numbers]) -> list[Scores]:
        """One score per item asked for, row by row; NaN where the model has no opinion."""
        ...

    def explain(self, row: int, item: int) -> Contributions:
        """What made the score, largest share first; empty where the model has no opinion."""
        ...


@runtime_checkable
class Model(Protocol):
    """A trained model: a function of a query. Saved as named arrays, never pickled.

    `from_arrays(model.arrays())` gives the same model back; arrays may be memory-mapped.
    """

    holds_personal_rows: ClassVar[bool]

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Folds the queries in, once per batch. A batch gives what its single queries give."""
        ...

    def arrays(self) -> Mapping[str, Array]:
        """The saved form: names → arrays (float, int or bool; text as JSON in uint8)."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Model:
        """The model that was saved; raises BundleError where an array is missing or misshapen."""
        ...
