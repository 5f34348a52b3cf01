"""Feedback and preferences of a customer, in force in the next answer of every worker."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal

from msgspec import UNSET
from numpy.random import Generator

from recsys.errors import InvalidInput
from recsys.events.schema import Consent, Event, Person, Tolerance, parse_event
from recsys.query.preferences import Exclusions, Interests, Preferences
from recsys.store.protocol import PeopleStore
from serving.api.customer_schemas import (
    FeedbackAnswer,
    FeedbackRequest,
    PreferencesAnswer,
    PreferencesRequest,
)
from serving.api.problems import invalid, invalid_input
from serving.api.schemas import User
from serving.metrics import Metrics
from serving.use_cases.consent import is_permitted
from serving.use_cases.group_commit import EventWriter

NO_CONSENT = (
    "There is no consent to personalisation, so that nothing is kept of this person; send "
    "consent with it, or record it with PUT /v1/profiles."
)


async def give_feedback(
    request: FeedbackRequest,
    *,
    store: PeopleStore,
    writer: EventWriter,
    metrics: Metrics,
    now: datetime,
    tolerance: Tolerance,
    rng: Generator,
) -> FeedbackAnswer:
    """Stores the feedback as an event; ProblemError where it names no target or no person.

    Without consent it is stored without the person, and changes no answer.
    """
    person = person_of(request.user)
    if request.item_id is None and request.brand is None and request.category is None:
        raise invalid("item_id", None, "name an item_id, a brand or a category")
    permitted = await asyncio.to_thread(is_permitted, store, person, request.consent)
    event_id = request.event_id or f"f-{rng.bytes(12).hex()}"
    (stored,) = await writer.append([_event(request, permitted, now, tolerance, event_id)])
    status: Literal["accepted", "duplicate"] = "accepted" if stored else "duplicate"
    metrics.events.labels(status).inc()
    return FeedbackAnswer(
        event_id=event_id,
        status=status,
        in_force=permitted,
        reason=UNSET if permitted else NO_CONSENT,
    )


def keep_preferences(
    request: PreferencesRequest, *, store: PeopleStore, now: datetime
) -> PreferencesAnswer:
    """Stores the preferences and gives those on record; ProblemError where no person is named.

    An objection that names customer and visitor holds for both.
    """
    person = person_of(request.user)
    consent = None
    if request.consent is not None:
        on_record = store.preferences(person).consent
        analytics = on_record is not None and on_record.analytics
        consent = Consent(request.consent.personalization, analytics)
    stated = Preferences(
        user_id=person.user_id,
        anonymous_id=None if person.user_id is not None else person.anonymous_id,
        personalization=request.personalization,
        order=request.order,
        interests=request.interests,
        exclusions=request.exclusions,
        consent=consent,
    )
    every = [stated]
    if request.personalization is False and None not in (person.user_id, person.anonymous_id):
        every.append(Preferences(anonymous_id=person.anonymous_id, personalization=False))
    in_force = store.put_preferences(every, received_at=now)[0]
    stored = read_preferences(request.user, store=store)
    return PreferencesAnswer(
        personalization=stored.personalization,
        order=stored.order,
        interests=stored.interests,
        exclusions=stored.exclusions,
        in_force=in_force,
        reason=UNSET if in_force else NO_CONSENT,
    )


def read_preferences(user: User, *, store: PeopleStore) -> PreferencesAnswer:
    """The preferences on record; ProblemError where no person is named."""
    on_record = store.preferences(person_of(user))
    personal = on_record.personalization
    if personal is None and on_record.consent is not None:
        personal = on_record.consent.personalization
    return PreferencesAnswer(
        personalization=personal,
        order=on_record.order or "own",
        interests=on_record.interests or Interests(),
        exclusions=on_record.exclusions or Exclusions(),
    )


def person_of(user: User) -> Person:
    """The person who is named; ProblemError where nobody is."""
    person = Person(user.user_id, user.anonymous_id)
    if person.key is None:
        raise invalid("user.user_id", None, "name a user_id or an anonymous_id")
    return person


def _event(
    request: FeedbackRequest,
    permitted: bool,
    now: datetime,
    tolerance: Tolerance,
    event_id: str,
) -> Event:
    """The feedback as an event; it carries consent only where it may be tied to the person."""
    user = request.user
    body = {
        "event_id": event_id,
        "event": "feedback",
        "timestamp": (request.timestamp or now).isoformat(),
        "user_id": user.user_id,
        "anonymous_id": user.anonymous_id,
        "session_id": user.session_id,
        "items": [] if request.item_id is None else [{"item_id": request.item_id}],
        "action": request.action,
        "brand": request.brand,
        "category": request.category,
        "days": request.days,
        "recommendation_id": request.recommendation_id,
        "consent": {"personalization": True} if permitted else None,
    }
    try:
        return parse_event(body, now=now, tolerance=tolerance)
    except InvalidInput as error:
        raise invalid_input(error) from None
