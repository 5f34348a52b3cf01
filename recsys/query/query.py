"""`Query`: all that a model may know of one request, and nothing from after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from recsys.ids import NONE, Numbers
from recsys.query.history import NO_HISTORY, NO_IMPRESSIONS, History, UnclickedImpressions
from recsys.query.preferences import NO_PREFERENCES, Preferences
from recsys.query.profile import UNKNOWN, Profile


@dataclass(frozen=True, slots=True)
class Listed:
    """A list to rerank in the order of the search engine or listing page: position 0 first.

    `scores` are the search engine's, NaN where it gave none.
    """

    items: Numbers
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Context:
    """The context of a request; None where the shop sent none. `weekday` 0 is Monday."""

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
    """What is known at `now` (`recsys.query.builder` makes it).

    `session` is the part of `history` in the current visit; `account` what the other members of
    the person's account did; `seeds` the items of the page or cart; `listed` a list to rerank.
    """

    now: datetime
    history: History = NO_HISTORY
    session: History = NO_HISTORY
    account: History | None = None
    seeds: Numbers = field(default_factory=lambda: NONE)
    listed: Listed | None = None
    unclicked_impressions: UnclickedImpressions = NO_IMPRESSIONS
    refused: Numbers = field(default_factory=lambda: NONE)
    """Items that must not be shown (`recsys.query.feedback`)."""
    disliked: Numbers = field(default_factory=lambda: NONE)
    """Those of them that the person disliked: similar items are demoted."""
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
