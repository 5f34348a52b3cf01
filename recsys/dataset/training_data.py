"""`TrainingData`: everything a model may learn from, as of one moment, read from the event log.

`event_tables` and its siblings read one part each through DuckDB.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from scipy.sparse import csr_array

from recsys.catalog.items import Catalog, Item
from recsys.dataset.context_counts import ContextCounts, no_context_counts, read_context_counts
from recsys.dataset.event_frame import after_newest, event_table
from recsys.dataset.event_tables import (
    Baskets,
    Popularity,
    Timeline,
    count_events,
    number_events,
    read_baskets,
    read_interactions,
    read_popularity,
    read_timeline,
)
from recsys.dataset.frames import Frame
from recsys.dataset.impressions import Impressions, no_impressions, read_impressions
from recsys.dataset.item_frame import item_list, profiles_by_person
from recsys.dataset.person_records import PersonRecords, no_records
from recsys.dataset.ratings import Ratings, no_ratings, read_ratings
from recsys.dataset.read_records import read_person_records
from recsys.errors import InsufficientData
from recsys.events.views import EventSource, name_of, open_log
from recsys.events.weighting import Weighting
from recsys.ids import Vocabulary
from recsys.query.builder import QuerySettings, build_query
from recsys.query.facts import SESSION_GAP, PersonFacts
from recsys.query.history import NO_ROWS, EventRows, History
from recsys.query.preferences import Preferences
from recsys.query.profile import UNKNOWN, Profile
from recsys.query.query import Query
from recsys.query.segments import Segment


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is known before `as_of`: nothing in it happened at or after that moment.

    `users` are person keys (`u:<user_id>`, `a:<anonymous_id>`), visitors who logged in folded into
    their customer. `interactions` is users × items, float32, weighted, decayed, positive.
    `profiles[n]` is what was declared about user n.
    """

    as_of: datetime
    users: Vocabulary
    items: Vocabulary
    interactions: csr_array
    timeline: Timeline
    baskets: Baskets
    popularity: Popularity
    catalog: Catalog
    profiles: tuple[Profile, ...]
    weighting: Weighting
    impressions: Impressions = field(default_factory=no_impressions)
    context_counts: ContextCounts = field(default_factory=no_context_counts)
    ratings: Ratings = field(default_factory=no_ratings)
    records: PersonRecords = field(default_factory=no_records)

    @classmethod
    def from_events(
        cls,
        events: Frame,
        *,
        items: Frame | None = None,
        profiles: Frame | None = None,
        as_of: datetime | None = None,
        weighting: Weighting | None = None,
    ) -> TrainingData:
        """What a model may learn from frames (pandas or pyarrow) of events, items and profiles.

        Events, one row per item: `event` (view_item, add_to_cart, purchase, …), `timestamp` with a
        zone, `item_id`, and `user_id` or `anonymous_id`; beside them `event_id`, `transaction_id`,
        `session_id`, `quantity`, `price`, `country`, … (`event_frame.EVENT_COLUMNS`). Items:
        `item_id`, `title`, `category`, `brand`, `price`, … (`item_frame.ITEM_COLUMNS`). Profiles:
        `user_id`, `country`, `customer_group`, … (`item_frame.PROFILE_COLUMNS`).

        `as_of` is the moment just after the newest event where it is not given; later events are
        left out. InvalidInput names the column, the value and the remedy; InsufficientData where
        no event has an item.
        """
        table = event_table(events)
        by_person = {} if profiles is None else profiles_by_person(profiles)
        refusing = [
            person
            for person, profile in by_person.items()
            if profile.consent is not None and not profile.consent.personalization
        ]
        return read_training_data(
            table,
            as_of=after_newest(table) if as_of is None else as_of,
            weighting=weighting or Weighting(),
            catalog=() if items is None else item_list(items),
            profiles=by_person,
            denied=refusing,
        )

    def history(self, user: int, *, now: datetime) -> History:
        """One user's history as it is weighed at `now`."""
        timeline = self.timeline
        span = slice(int(timeline.starts[user]), int(timeline.starts[user + 1]))
        kinds, times = timeline.kinds[span], timeline.times[span]
        weights = self.weighting.weights(kinds, times, now=now.timestamp())
        return History(timeline.items[span], kinds, times, weights)

    def __repr__(self) -> str:
        return (
            f"<TrainingData as of {self.as_of:%Y-%m-%d %H:%M}: {len(self.users):,} users, "
            f"{len(self.items):,} items, {len(self.timeline.items):,} events with an item>"
        )

    def query_settings(
        self, *, segments: Sequence[Segment] = (), counts_impressions: bool = False
    ) -> QuerySettings:
        """What the queries of a bundle that is fitted on these data are built with."""
        return QuerySettings(
            items=self.items,
            weighting=self.weighting,
            weighed_at=self.as_of,
            segments=tuple(segments),
            counts_impressions=counts_impressions,
        )

    def facts(self, person: str, *, now: datetime) -> PersonFacts:
        """What the service would know of a person (key) at `now`: nothing from at or after it.

        Of somebody without an event before `as_of` nothing that was declared is used.
        """
        user = self.users.number(person)
        timeline, profile = NO_ROWS, UNKNOWN
        codes = np.empty(0, np.uint32)
        if user is not None:
            first, end = int(self.timeline.starts[user]), int(self.timeline.starts[user + 1])
            times = self.timeline.times[first:end]
            if len(times) and times[-1] >= now.timestamp():
                end = first + int(np.searchsorted(times, now.timestamp()))
            span, profile = slice(first, end), self.profiles[user]
            timeline = EventRows(
                self.timeline.items[span], self.timeline.kinds[span], self.timeline.times[span]
            )
            codes = self.timeline.session_codes[span]
        if not len(codes):
            codes = np.zeros(len(timeline), np.uint32)
        return self.records.facts(
            person, timeline, codes, profile=profile, items=self.items, now=now
        )

    def queries(
        self, persons: Sequence[str], *, now: datetime, settings: QuerySettings | None = None
    ) -> list[Query]:
        """What the service would ask the models when these persons (keys) come at `now`.

        `session` holds the visit that is under way at `now`, `context` that of its newest event:
        both are empty for whoever comes back later. `settings` default to those of a bundle
        without segments and frequency caps.
        """
        settings = settings or self.query_settings()
        return [
            build_query(
                self.facts(person, now=now),
                settings,
                now=now,
                context=self.records.context(person, now=now),
            )
            for person in persons
        ]


def read_training_data(
    log: EventSource,
    *,
    as_of: datetime,
    weighting: Weighting,
    catalog: Sequence[Item] = (),
    profiles: Mapping[str, Profile] | None = None,
    preferences: Mapping[str, Preferences] | None = None,
    denied: Collection[str] = (),
    window: timedelta = timedelta(days=730),
) -> TrainingData:
    """Everything in the log within `window` before `as_of`.

    `denied` are person keys that may not be personalised: their events teach as anybody's.
    InsufficientData where there is no event with an item.
    """
    by_person = profiles or {}
    connection = open_log(log, since=as_of - window, until=as_of, denied=denied)
    with connection:
        users, items = number_events(connection, catalog)
        if not count_events(connection):
            raise InsufficientData(
                f"There is no event with an item between {as_of - window:%Y-%m-%d} and "
                f"{as_of:%Y-%m-%d} in {name_of(log)}; import events first."
            )
        return TrainingData(
            as_of=as_of,
            users=users,
            items=items,
            interactions=read_interactions(
                connection, weighting=weighting, as_of=as_of, shape=(len(users), len(items))
            ),
            timeline=read_timeline(connection, len(users)),
            baskets=read_baskets(connection, len(items)),
            popularity=read_popularity(connection),
            catalog=Catalog.of(catalog, items),
            profiles=tuple(by_person.get(person, UNKNOWN) for person in users),
            weighting=weighting,
            impressions=read_impressions(connection, gap=SESSION_GAP),
            context_counts=read_context_counts(connection),
            ratings=read_ratings(connection),
            records=read_person_records(
                connection, as_of=as_of, profiles=by_person, preferences=preferences or {}
            ),
        )
