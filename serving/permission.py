"""What may be used about whoever asks, and the query that follows from it.

Personalisation is permitted where the request says yes, or says nothing and the record does, and
never while the latest statement on record refuses: a page that has not heard of a withdrawal
cannot undo it; only a later statement by event or profile can. Without permission the answer knows
the page, the country and the hour, and nothing of the person: no history, no profile, no session,
no sticky variant, no person in the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from recsys.bundle import Bundle
from recsys.errors import StoreUnavailable
from recsys.events import Consent, Person
from recsys.profiles import Profile
from recsys.query import Context, History, Query
from recsys.store import KnownPerson, Store
from serving.schemas import RequestConsent, RequestContext, User

NOBODY: Final = KnownPerson()


@dataclass(frozen=True, slots=True)
class Permitted:
    """What may be used about a person: `known` is empty and `key` None without permission.

    `degraded` says that the store could not be asked.
    """

    known: KnownPerson = NOBODY
    key: str | None = None
    degraded: bool = False


def ask_store(
    store: Store, user: User, consent: RequestConsent | None, *, history_limit: int
) -> Permitted:
    """Reads what the store knows of the person and keeps what consent permits."""
    person = Person(user.user_id, user.anonymous_id)
    if person.key is None or (consent is not None and not consent.personalization):
        return Permitted()
    try:
        known = store.person(person, limit=history_limit)
    except StoreUnavailable:
        return Permitted(degraded=True)
    if not may_personalise(None if consent is None else consent.personalization, known.consent):
        return Permitted()
    return Permitted(known, known.key or person.key)


def may_personalise(requested: bool | None, on_record: Consent | None) -> bool:
    """(what the request says, else the record) and no refusal on record."""
    if on_record is not None and not on_record.personalization:
        return False
    if requested is not None:
        return requested
    return on_record is not None


def query_of(
    permitted: Permitted,
    user: User,
    context: RequestContext,
    bundle: Bundle,
    *,
    now: datetime,
    session: timedelta,
) -> Query:
    """The question as the models see it: everything permitted that is known at this moment."""
    known = permitted.known
    history = bundle.history(known.history, now=now)
    return Query(
        now=now,
        history=history,
        refused=bundle.refused(known.history, now=now),
        session=_session(permitted, user, bundle, history, now, session),
        profile=_profile(permitted, user),
        context=context_of(context),
        known=permitted.key is not None and permitted.key.startswith("u:"),
    )


def context_of(context: RequestContext) -> Context:
    """The moment and the place, which are nobody's."""
    return Context(
        channel=context.channel,
        device=context.device,
        country=context.country,
        hour=context.hour,
        referrer=context.referrer,
        search_term=context.search_term,
        values=context.values or {},
    )


def _session(
    permitted: Permitted,
    user: User,
    bundle: Bundle,
    history: History,
    now: datetime,
    session: timedelta,
) -> History:
    """The events of the session that is named, else those of the last minutes."""
    if user.session_id is None:
        return history.since((now - session).timestamp())
    events = [event for event in permitted.known.history if event.session_id == user.session_id]
    return bundle.history(events, now=now)


def _profile(permitted: Permitted, user: User) -> Profile:
    profile = permitted.known.profile
    if permitted.key is not None and user.account_id is not None:
        return msgspec.structs.replace(profile, account_id=user.account_id)
    return profile
