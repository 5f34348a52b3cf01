"""The result of a check, and the thresholds that grade it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from pydantic import BaseModel, ConfigDict, Field


class Status(IntEnum):
    """How a check ended, in rising order: a FAIL should stop an unattended run."""

    PASS = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class Check:
    """One check's result. `message` holds figures alone; `examples` may name customers."""

    name: str
    status: Status
    message: str
    examples: tuple[str, ...] = ()

    def public(self) -> Check:
        """The same without examples, which may name customers."""
        return replace(self, examples=())


class CheckRules(BaseModel):
    """The thresholds of warnings and failures; shares are 0 to 1 of the events in the window."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    events_fail: int = Field(default=100, ge=1, description="fewer events than this cannot teach")
    events_warn: int = Field(default=1000, ge=1, description="fewer events than this teach little")
    days_fail: int = Field(default=2, ge=1, description="fewer days cannot be split by time")
    days_warn: int = Field(default=28, ge=1, description="fewer days hide the weekly rhythm")
    stale_days_warn: float = Field(
        default=3, gt=0, description="days since the newest event; the archive may have stopped"
    )
    unknown_items_warn: float = Field(default=0.05, ge=0, le=1)
    """Share of events with items that the catalogue does not have."""
    unknown_items_fail: float = Field(default=0.5, ge=0, le=1)
    """The same, as a failure."""
    duplicates_warn: float = Field(
        default=0.0, ge=0, le=1, description="rows that stand twice under one event id and position"
    )
    duplicates_fail: float = Field(default=0.01, ge=0, le=1)
    """Duplicates, as a failure."""
    repeats_warn: float = Field(
        default=0.02, ge=0, le=1, description="same person, kind and item within one second"
    )
    repeats_fail: float = Field(default=0.5, ge=0, le=1)
    """Repeats, as a failure."""
    one_item_warn: float = Field(
        default=0.2, ge=0, le=1, description="the busiest item's share of the lines"
    )
    one_item_fail: float = Field(default=0.6, ge=0, le=1)
    """The busiest item's share, as a failure."""
    one_person_warn: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="the busiest customer's or visitor's share of the events",
    )
    one_person_fail: float = Field(default=0.5, ge=0, le=1)
    """The busiest person's share, as a failure."""
    bot_events_per_day: int = Field(default=2000, ge=1, description="more in a day is no human")
    bot_events_per_minute: int = Field(default=90, ge=1, description="more in a minute is no human")
    bots_fail: float = Field(default=0.3, ge=0, le=1, description="share of events made by bots")
    gap_days_warn: int = Field(default=4, ge=1, description="longest run of days without an event")
    gap_days_fail: int = Field(default=60, ge=1)
    """A gap in the days, as a failure."""
    empty_days_warn: float = Field(
        default=0.3, ge=0, le=1, description="share of empty days; one closed day a week is 0.14"
    )
    future_hours: float = Field(
        default=24, ge=0, description="hours after `as_of` up to which events are merely newer"
    )
    wrong_time_warn: float = Field(default=0.0, ge=0, le=1, description="share with a wrong clock")
    wrong_time_fail: float = Field(default=0.05, ge=0, le=1)
    """Events with impossible times, as a failure."""
    missing_prices_warn: float = Field(
        default=0.1, ge=0, le=1, description="share of the lines bought without a price"
    )
    nobody_warn: float = Field(
        default=0.6, ge=0, le=1, description="share tied to no person, for want of id or consent"
    )
    nobody_fail: float = Field(default=0.99, ge=0, le=1)
    """Events without a person, as a failure."""
    examples: int = Field(default=5, ge=0, le=100, description="examples kept per check")


def worst(checks: Sequence[Check]) -> Status:
    """The worst status among the checks; PASS where there is no check."""
    return max((check.status for check in checks), default=Status.PASS)
