"""The one builder of a `Query`: facts about a person, a moment and the settings of a bundle.

Serving and evaluation both call `build_query` and `personal_rules_of`, so that what is measured is
what is served.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
import numpy as np

from recsys.catalog.rules import Rule
from recsys.events.weighting import Weighting
from recsys.ids import NONE, Mask, Numbers, Vocabulary
from recsys.query.facts import SESSION_GAP, PersonFacts
from recsys.query.feedback import FeedbackState, personal_rules
from recsys.query.history import (
    FEEDBACK,
    NO_HISTORY,
    NO_IMPRESSIONS,
    EventRows,
    History,
    unclicked_impressions,
)
from recsys.query.preferences import INTEREST, Preferences
from recsys.query.profile import Profile
from recsys.query.query import Context, Query
from recsys.query.segments import Segment, segments_of

NO_CONTEXT: Final = Context()


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """What all queries of one bundle have in common.

    `weighed_at` is the moment up to which the bundle's own data were weighed: a history is decayed
    to it, or to the newest event where that is later, so that a bundle that has been served for a
    while weighs a history as on its first day. `counts_impressions` is true where some placement
    caps them. `session_gap` is the length of a visit whose session id is unknown.
    """

    items: Vocabulary
    weighting: Weighting
    weighed_at: datetime
    segments: tuple[Segment, ...] = ()
    counts_impressions: bool = False
    session_gap: timedelta = SESSION_GAP


def build_query(
    facts: PersonFacts,
    settings: QuerySettings,
    *,
    now: datetime,
    context: Context = NO_CONTEXT,
) -> Query:
    """The query of a person at `now`, without the items of the page (`seeds`, `listed`).

    Who asked for the shop's order is a stranger, who asked for that of their segment has no
    history; in both cases refused items stay refused.
    """
    preferences = facts.preferences
    refused = settings.items.known(_refused_ids(facts.feedback, preferences))
    order = preferences.order or "own"
    if order == "shop":
        wishes = Preferences(order=order)
        return Query(now=now, refused=refused, context=context, preferences=wishes)
    segments = _segments(facts, settings, now, context)
    if order == "segment":
        return Query(
            now=now,
            refused=refused,
            profile=_without_interests(facts.profile),
            context=context,
            segments=segments,
            known=facts.is_customer,
        )
    history, session = _history_and_session(facts.events, facts.feedback, settings, now)
    account = history_of(facts.account, settings, now=now) if len(facts.account) else None
    return Query(
        now=now,
        history=history,
        session=session,
        account=account,
        unclicked_impressions=unclicked_impressions(history)
        if settings.counts_impressions
        else NO_IMPRESSIONS,
        refused=refused,
        disliked=settings.items.known(sorted(facts.feedback.disliked)),
        profile=facts.profile,
        preferences=preferences,
        context=context,
        segments=segments,
        known=facts.is_customer,
    )


def stranger_query(now: datetime, *, context: Context = NO_CONTEXT, seeds: Numbers = NONE) -> Query:
    """The query of somebody unknown on a page or with a cart of these `seeds`; no segments."""
    return Query(now=now, context=context, seeds=seeds)


def personal_rules_of(facts: PersonFacts, *, n: int | None = None) -> tuple[Rule, ...]:
    """The person's refusals and interests as rules for a list of `n` items (None: no quota).

    Whoever asked for another order than their own has refusals but no interests.
    """
    preferences = facts.preferences
    if preferences.order in (None, "own"):
        return personal_rules(facts.feedback, preferences, n=n)
    refusals = FeedbackState(
        refused_brands=facts.feedback.refused_brands,
        refused_categories=facts.feedback.refused_categories,
    )
    return personal_rules(refusals, Preferences(exclusions=preferences.exclusions))


def history_of(rows: EventRows, settings: QuerySettings, *, now: datetime) -> History:
    """The rows with items of the vocabulary but for feedback, weighed as training weighs them."""
    history, _ = _history_and_session(rows, FeedbackState(), settings, now)
    return history


def _history_and_session(
    rows: EventRows, feedback: FeedbackState, settings: QuerySettings, now: datetime
) -> tuple[History, History]:
    """The history and the part of it in the current visit: the rows of the visit that is known by
    its session id, else those of the last `session_gap`.

    Of feedback the newest like of a liked item is kept; disliked items leave nothing behind.
    """
    if not len(rows):
        return NO_HISTORY, NO_HISTORY
    kept = _kept(rows, feedback, settings.items)
    items, kinds, times, visit = rows.items, rows.kinds, rows.times, rows.visit
    if not kept.all():
        items, kinds, times = items[kept], kinds[kept], times[kept]
        visit = None if visit is None else visit[kept]
    weighed_at = max(settings.weighed_at.timestamp(), times.max(initial=-np.inf))
    weights = settings.weighting.weights(kinds, times, now=min(weighed_at, now.timestamp()))
    history = History(items, kinds, times, weights)
    if visit is None:
        return history, history.since((now - settings.session_gap).timestamp())
    return history, history.where(visit)


def _kept(rows: EventRows, feedback: FeedbackState, items: Vocabulary) -> Mask:
    """Rows of known items that are neither feedback nor of a disliked item, but for the newest like
    of a liked item."""
    kept = rows.items >= 0
    given = rows.kinds == FEEDBACK
    if not given.any():
        return kept
    liked = given & np.isin(rows.items, items.known(sorted(feedback.liked)))
    newest = {int(rows.items[row]): row for row in np.flatnonzero(liked).tolist()}
    kept &= ~given
    kept[list(newest.values())] = True
    if feedback.disliked:
        kept &= ~np.isin(rows.items, items.known(sorted(feedback.disliked)))
    return kept


def _segments(
    facts: PersonFacts, settings: QuerySettings, now: datetime, context: Context
) -> tuple[str, ...]:
    """The rule-made segments that hold; of a stranger those of the moment."""
    if not settings.segments:
        return ()
    return segments_of(
        settings.segments,
        events=facts.events,
        profile=facts.profile,
        context=context,
        known=facts.is_customer,
        now=now,
    )


def _refused_ids(feedback: FeedbackState, preferences: Preferences) -> list[str]:
    excluded = () if preferences.exclusions is None else preferences.exclusions.items
    return sorted({*feedback.refused, *excluded})


def _without_interests(profile: Profile) -> Profile:
    traits = {name: v for name, v in profile.traits.items() if not name.startswith(INTEREST)}
    if len(traits) == len(profile.traits):
        return profile
    return msgspec.structs.replace(profile, traits=traits)
