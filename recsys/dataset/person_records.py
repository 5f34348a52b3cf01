"""What the event log and the store know of single persons beside the timeline, as of a moment.

The timeline holds what models learn from. A query needs more: feedback, custom events without an
item, events with refused items, the events of an account, the context of a visit under way. With
the timeline they give the same `PersonFacts` that the service reads from the store.

As of the moment of the question: every event, who had logged in by `as_of`, the account that
events name, feedback. As of today, because the store keeps no past versions: declared profiles,
preferences and refusals of consent. Rows older than the training window are not known.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from recsys.ids import NONE, Numbers, Vocabulary
from recsys.query.facts import (
    ACCOUNT_LIMIT,
    CUSTOM_LIMIT,
    FEEDBACK_LIMIT,
    HISTORY_LIMIT,
    LISTED_LIMIT,
    SESSION_GAP,
    PersonFacts,
)
from recsys.query.feedback import feedback_state
from recsys.query.history import (
    CUSTOM,
    FEEDBACK,
    LISTED,
    NO_ROWS,
    EventRows,
    StoredEvent,
    event_rows,
)
from recsys.query.preferences import NO_PREFERENCES, Preferences, with_interests
from recsys.query.profile import Profile
from recsys.query.query import Context

LEAST_LIMIT: Final = min(HISTORY_LIMIT, LISTED_LIMIT, FEEDBACK_LIMIT, CUSTOM_LIMIT, ACCOUNT_LIMIT)


@dataclass(frozen=True, slots=True)
class Asides:
    """One person's rows that the timeline lacks or holds only in part, oldest first: feedback,
    custom events and every event with an item that the person refuses.

    `session_codes` are those of `Timeline.session_codes`.
    """

    events: tuple[StoredEvent, ...]
    session_codes: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class AccountEvents:
    """Events by account, each account's oldest first: parallel arrays.

    Row span of account a: `starts[a]:starts[a + 1]`. `persons` are codes into `members`.
    """

    accounts: Vocabulary
    starts: NDArray[np.int64]
    members: Vocabulary
    persons: NDArray[np.int32]
    items: Numbers
    kinds: NDArray[np.int8]
    times: NDArray[np.float64]

    def of_others(self, account_id: str | None, person: str, *, now: float) -> EventRows:
        """The newest ACCOUNT_LIMIT events before `now` of an account's other members."""
        account = None if account_id is None else self.accounts.number(account_id)
        if account is None:
            return NO_ROWS
        first, end = int(self.starts[account]), int(self.starts[account + 1])
        end = first + int(np.searchsorted(self.times[first:end], now))
        code = self.members.number(person)
        rows = first + np.flatnonzero(self.persons[first:end] != (-1 if code is None else code))
        rows = rows[-ACCOUNT_LIMIT:]
        return EventRows(self.items[rows], self.kinds[rows], self.times[rows])


def no_account_events() -> AccountEvents:
    """Those of a shop without accounts."""
    return AccountEvents(
        accounts=Vocabulary([]),
        starts=np.zeros(1, np.int64),
        members=Vocabulary([]),
        persons=NONE,
        items=NONE,
        kinds=np.empty(0, np.int8),
        times=np.empty(0, np.float64),
    )


@dataclass(frozen=True, slots=True)
class PersonRecords:
    """Person key → what is known beside the timeline; whoever is not in a mapping has none of it.

    `account_ids` are the accounts that a person's events name, each with the time from which on
    (epoch seconds, ascending). `contexts` are those of the newest event within SESSION_GAP before
    `as_of`, with its time.
    """

    asides: Mapping[str, Asides] = field(default_factory=dict)
    account_events: AccountEvents = field(default_factory=no_account_events)
    account_ids: Mapping[str, Sequence[tuple[float, str]]] = field(default_factory=dict)
    contexts: Mapping[str, tuple[float, Context]] = field(default_factory=dict)
    preferences: Mapping[str, Preferences] = field(default_factory=dict)

    @property
    def newest(self) -> float:
        """The time of the newest event in any record; −inf without one."""
        times = [
            *(asides.events[-1].time for asides in self.asides.values()),
            *(named[-1][0] for named in self.account_ids.values()),
            *(time for time, _ in self.contexts.values()),
            float(self.account_events.times.max(initial=-np.inf)),
        ]
        return max(times)

    def context(self, person: str, *, now: datetime) -> Context:
        """The context of the person's visit under way at `now`; empty without one."""
        time, context = self.contexts.get(person, (-np.inf, Context()))
        under_way = 0 < now.timestamp() - time <= SESSION_GAP.total_seconds()
        return context if under_way else Context()

    def facts(
        self,
        person: str,
        timeline: EventRows,
        session_codes: NDArray[np.uint32],
        *,
        profile: Profile,
        items: Vocabulary,
        now: datetime,
    ) -> PersonFacts:
        """The person's facts at `now`; `timeline` are the rows of the timeline before it.

        The visit under way is that of the newest event, where it is at most SESSION_GAP old and
        names a session.
        """
        time = now.timestamp()
        asides = self.asides.get(person)
        events: Sequence[StoredEvent] = ()
        if asides is not None:
            events = asides.events[: bisect_left(asides.events, time, key=_time)]
            timeline, session_codes = _merged(timeline, session_codes, events, asides, items)
        rows, session_codes = _newest(timeline, session_codes)
        preferences = self.preferences.get(person, NO_PREFERENCES)
        profile = with_interests(profile, preferences)
        account_id = self._account_id(person, profile, time)
        if account_id != profile.account_id:
            profile = msgspec.structs.replace(profile, account_id=account_id)
        return PersonFacts(
            key=person,
            events=_with_visit(rows, session_codes, time),
            feedback=feedback_state(events, now=now),
            account=self.account_events.of_others(account_id, person, now=time),
            profile=profile,
            preferences=preferences,
        )

    def _account_id(self, person: str, profile: Profile, time: float) -> str | None:
        """The account that the newest event with one names, else the declared one."""
        named = self.account_ids.get(person, ())
        count = bisect_left(named, time, key=lambda entry: entry[0])
        return named[count - 1][1] if count else profile.account_id


def no_records() -> PersonRecords:
    """Those of data that hold a timeline alone."""
    return PersonRecords()


def session_codes(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """A short code per session id, 0 where there is none; unique enough among one person's."""
    return np.where(hashes == 0, 0, (hashes & 0xFFFFFFFE) + 1).astype(np.uint32)


def _merged(
    timeline: EventRows,
    codes: NDArray[np.uint32],
    events: Sequence[StoredEvent],
    asides: Asides,
    items: Vocabulary,
) -> tuple[EventRows, NDArray[np.uint32]]:
    """The timeline's rows and the asides in the order of their times."""
    kept = (timeline.kinds != FEEDBACK) & (timeline.kinds != CUSTOM)
    beside = event_rows(events, items)
    times = np.concatenate([timeline.times[kept], beside.times])
    order = np.argsort(times, kind="stable")
    rows = EventRows(
        np.concatenate([timeline.items[kept], beside.items])[order],
        np.concatenate([timeline.kinds[kept], beside.kinds])[order],
        times[order],
        details=beside.details,
    )
    return rows, np.concatenate([codes[kept], asides.session_codes[: len(events)]])[order]


def _newest(rows: EventRows, codes: NDArray[np.uint32]) -> tuple[EventRows, NDArray[np.uint32]]:
    """The rows up to the limits that the store has for each kind."""
    if len(rows) <= LEAST_LIMIT:
        return rows, codes
    kept = np.ones(len(rows), np.bool_)
    limits = {FEEDBACK: FEEDBACK_LIMIT, CUSTOM: CUSTOM_LIMIT, LISTED: LISTED_LIMIT}
    others = ~np.isin(rows.kinds, list(limits))
    for limited, limit in (
        (others, HISTORY_LIMIT),
        *((rows.kinds == kind, limit) for kind, limit in limits.items()),
    ):
        kept[np.flatnonzero(limited)[:-limit]] = False
    if kept.all():
        return rows, codes
    detailed = kept[(rows.kinds == FEEDBACK) | (rows.kinds == CUSTOM)].tolist()
    details = [event for event, stays in zip(rows.details, detailed, strict=False) if stays]
    return (
        EventRows(rows.items[kept], rows.kinds[kept], rows.times[kept], tuple(details)),
        codes[kept],
    )


def _with_visit(rows: EventRows, codes: NDArray[np.uint32], now: float) -> EventRows:
    if not len(rows) or not codes[-1] or now - rows.times[-1] > SESSION_GAP.total_seconds():
        return rows
    return EventRows(rows.items, rows.kinds, rows.times, rows.details, visit=codes == codes[-1])


_time = attrgetter("time")
