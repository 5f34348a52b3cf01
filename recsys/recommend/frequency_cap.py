"""Frequency cap: an item that was shown often without a click pauses for some days."""

from __future__ import annotations

from recsys.bundle.placements import Fatigue
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import Numbers
from recsys.query.history import UnclickedImpressions


def frequency_capped(impressions: UnclickedImpressions, fatigue: Fatigue, *, now: float) -> Numbers:
    """Item numbers with at least `fatigue.times` impressions without a click, the newest of them
    less than `fatigue.rest_days` before `now` (epoch seconds)."""
    recent = now - impressions.newest < fatigue.rest_days * SECONDS_PER_DAY
    return impressions.items[recent & (impressions.times >= fatigue.times)]
