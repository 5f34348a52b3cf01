"""Rule-made segments over what is declared, what was done and the context of the request.

    - name: fans
      points: {at_least: 50, days: 90, events: [{event: custom, name: video watched, points: 5}]}
    - name: regular trade customers
      customer_group: [trade]
      events: [{event: purchase, at_least: 3, days: 90}]

All conditions of a segment must hold; what it does not name is unconstrained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from recsys.events.schema import KIND_NUMBER, EventKind
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.query.history import EventRows
from recsys.query.profile import Profile
from recsys.query.query import Context

Value = str | float | bool


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EventCount(_Rule):
    """How often something was done in the last `days` (None: ever); `name` is of custom events."""

    event: EventKind
    """Event kind."""
    name: str | None = Field(default=None, min_length=1, max_length=64)
    """Name of a custom event."""
    days: float | None = Field(default=None, gt=0)
    """Days back from the moment of asking; null for ever."""
    at_least: int = Field(default=1, ge=0)
    """Fewer are not admitted."""
    at_most: int | None = Field(default=None, ge=0)
    """More are not admitted; null for no limit."""


class PointRule(_Rule):
    """What one event of a kind, or a custom one of a name, is worth."""

    event: EventKind
    """Event kind."""
    name: str | None = Field(default=None, min_length=1, max_length=64)
    """Name of a custom event."""
    points: float = Field(allow_inf_nan=False)
    """Points of one event."""


class Engagement(_Rule):
    """Points of the events in the last `days` (None: ever), from `at_least` on."""

    at_least: float = Field(allow_inf_nan=False)
    """Sum of points from which the segment holds."""
    days: float | None = Field(default=None, gt=0)
    """Days back from the moment of asking; null for ever."""
    events: tuple[PointRule, ...] = Field(min_length=1)
    """Which events count, and how much."""


class Segment(_Rule):
    """One segment. Lists name what is admitted; empty ones admit everything."""

    name: str = Field(min_length=1, max_length=64)
    """Name of the segment, as rules and reports use it."""
    country: tuple[str, ...] = ()
    """Countries that are admitted."""
    customer_group: tuple[str, ...] = ()
    """Customer groups that are admitted."""
    traits: dict[str, tuple[Value, ...] | Value] = {}
    """Declared trait → the values that it may have."""
    known: bool | None = None
    """Whether it is for customers with a user_id (true) or for visitors (false)."""
    events: tuple[EventCount, ...] = ()
    """How often something was done; every one of them must hold."""
    points: Engagement | None = None
    """Engagement points that must be reached."""
    channel: tuple[str, ...] = ()
    """Channels that are admitted."""
    device: tuple[str, ...] = ()
    """Devices that are admitted."""
    hours: tuple[int, int] | None = None
    """From one hour up to another, such as [18, 23]; [22, 4] goes over midnight."""
    weekdays: tuple[int, ...] = ()
    """0 is Monday."""
    values: dict[str, tuple[Value, ...] | Value] = {}
    """Free value of the context (`weather`) → the values that it may have."""

    @model_validator(mode="after")
    def _says_something(self) -> Segment:
        if not self.model_fields_set - {"name"}:
            raise ValueError(f"segment {self.name!r} says nothing; give it a rule")
        return self

    def admits(self, profile: Profile, country: str | None) -> bool:
        """Whether the declared part holds."""
        return (
            _among(country, self.country)
            and _among(profile.customer_group, self.customer_group)
            and _all_among(profile.traits, self.traits)
        )

    def now(self, context: Context, moment: datetime) -> bool:
        """Whether the part about the moment holds; its hour and day are UTC where the context says
        neither."""
        hour = moment.hour if context.hour is None else context.hour
        weekday = moment.weekday() if context.weekday is None else context.weekday
        return (
            _among(context.channel, self.channel)
            and _among(context.device, self.device)
            and (not self.weekdays or weekday in self.weekdays)
            and (self.hours is None or _within(hour, *self.hours))
            and _all_among(context.values, self.values)
        )

    def earned(self, events: EventRows, *, now: float) -> bool:
        """Whether the part about what was done holds."""
        if not all(
            count.at_least <= (done := _times(events, count.event, count.name, count.days, now))
            and (count.at_most is None or done <= count.at_most)
            for count in self.events
        ):
            return False
        if self.points is None:
            return True
        days = self.points.days
        total = sum(
            rule.points * _times(events, rule.event, rule.name, days, now)
            for rule in self.points.events
        )
        return total >= self.points.at_least


def segments_of(
    segments: Iterable[Segment],
    *,
    events: EventRows,
    profile: Profile,
    context: Context,
    known: bool,
    now: datetime,
) -> tuple[str, ...]:
    """The names of the segments that hold, in their order; the items of one event count once."""
    country = context.country or profile.country
    return tuple(
        segment.name
        for segment in segments
        if (segment.known is None or segment.known == known)
        and segment.admits(profile, country)
        and segment.now(context, now)
        and segment.earned(events, now=now.timestamp())
    )


def _times(
    events: EventRows, kind: EventKind, name: str | None, days: float | None, now: float
) -> int:
    """How many events of a kind there are since `days`; those of one moment are one: a basket of
    ten items is one purchase."""
    since = -np.inf if days is None else now - days * SECONDS_PER_DAY
    if name is None:
        times = events.times[(events.kinds == KIND_NUMBER[kind]) & (events.times >= since)]
        return len(np.unique(times))
    return len(
        {
            event.time
            for event in events.details
            if event.kind == kind and event.time >= since and event.name == name
        }
    )


def _among(value: str | None, admitted: tuple[str, ...]) -> bool:
    return not admitted or value in admitted


def _all_among(
    values: Mapping[str, Value], admitted: Mapping[str, tuple[Value, ...] | Value]
) -> bool:
    return all(
        name in values and values[name] in (allowed if isinstance(allowed, tuple) else (allowed,))
        for name, allowed in admitted.items()
    )


def _within(hour: int, first: int, last: int) -> bool:
    return first <= hour <= last if first <= last else hour >= first or hour <= last
