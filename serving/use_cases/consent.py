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

from recsys.bundle.bundle import Bundle
from recsys.catalog.rules import Rule
from recsys.errors import StoreUnavailable
from recsys.events.schema import Consent, Person
from recsys.query.feedback import FeedbackState, feedback_state, personal_rules
from recsys.query.history import NO_SHOWN, History
from recsys.query.preferences import Preferences, with_interests
from recsys.query.profile import UNKNOWN, Profile
from recsys.query.query import Context, Query
from recsys.query.segments import segments_of
from recsys.recommend.suppression import shown_without_click
from recsys.store.protocol import KnownPerson
from serving.api.schemas import RequestConsent, RequestContext, User
from serving.use_cases.person_reader import Persons

NOBODY: Final = KnownPerson()


@dataclass(frozen=True, slots=True)
class PermittedPerson:
    """What may be used about a person: `known` is empty and `key` None without permission.

    `came_as` is the key of a stranger, the visitor's where both ids were sent; `degraded` says that
    the store could not be asked.
    """

    known: KnownPerson = NOBODY
    key: str | None = None
    came_as: str | None = None
    degraded: bool = False

    @property
    def assigned(self) -> str | None:
        """What stays the same when a visitor logs in; None without permission."""
        return None if self.key is None else self.known.assigned or self.came_as


def ask_store(
    store: Persons, user: User, consent: RequestConsent | None, *, history_limit: int
) -> PermittedPerson:
    """Reads what the store knows of the person and keeps what consent permits."""
    person = Person(user.user_id, user.anonymous_id)
    if person.key is None or (consent is not None and not consent.personalization):
        return PermittedPerson()
    try:
        known = store.person(person, limit=history_limit, account_id=user.account_id)
    except StoreUnavailable:
        return PermittedPerson(degraded=True)
    if not may_personalise(None if consent is None else consent.personalization, known.consent):
        return PermittedPerson()
    came_as = Person(None, user.anonymous_id).key or person.key
    return PermittedPerson(known, known.key or person.key, came_as)


def may_personalise(requested: bool | None, on_record: Consent | None) -> bool:
    """(what the request says, else the record) and no refusal on record."""
    if on_record is not None and not on_record.personalization:
        return False
    if requested is not None:
        return requested
    return on_record is not None


def query_of(
    permitted: PermittedPerson,
    user: User,
    context: RequestContext,
    bundle: Bundle,
    *,
    now: datetime,
    session: timedelta,
    said: FeedbackState | None = None,
) -> Query:
    """The question as the models see it: everything permitted that is known at this moment.

    `said` is what was heard in the history, where the caller has listened already. Who wants the
    shop's order is asked for as a stranger, who wants that of their segment without any history;
    what they refuse stays refused.
    """
    known = permitted.known
    if said is None:
        said = feedback_state(known.history, now=now)
    refused = bundle.items.known(_refused(said, known.preferences))
    disliked = bundle.items.known(sorted(said.disliked))
    segments = _segments(permitted, user, context, bundle, now)
    order = known.preferences.order or "own"
    if order != "own":
        return Query(
            now=now,
            refused=refused,
            profile=_profile(permitted, user) if order == "segment" else UNKNOWN,
            context=context_of(context),
            segments=segments if order == "segment" else (),
            known=order == "segment" and _is_customer(permitted),
        )
    history = bundle.history(known.history, now=now)
    return Query(
        now=now,
        history=history,
        shown=shown_without_click(history) if _anything_tires(bundle) else NO_SHOWN,
        segments=segments,
        account=bundle.history(known.account, now=now) if known.account else None,
        refused=refused,
        disliked=disliked,
        session=_session(permitted, user, bundle, history, now, session),
        profile=with_interests(_profile(permitted, user), known.preferences),
        preferences=known.preferences,
        context=context_of(context),
        known=_is_customer(permitted),
    )


def rules_of(
    permitted: PermittedPerson, said: FeedbackState, *, places: int | None = None
) -> tuple[Rule, ...]:
    """The person's own words as rules; who wants another order than their own has no interests."""
    preferences = permitted.known.preferences
    if preferences.order in (None, "own"):
        return personal_rules(said, preferences, places=places)
    refused = FeedbackState(
        refused_brands=said.refused_brands, refused_categories=said.refused_categories
    )
    return personal_rules(refused, Preferences(exclusions=preferences.exclusions))


def _refused(said: FeedbackState, preferences: Preferences) -> list[str]:
    excluded = () if preferences.exclusions is None else preferences.exclusions.items
    return sorted({*said.refused, *excluded})


def _is_customer(permitted: PermittedPerson) -> bool:
    return permitted.key is not None and permitted.key.startswith("u:")


def context_of(context: RequestContext) -> Context:
    """The moment and the place, which are nobody's."""
    return Context(
        channel=context.channel,
        device=context.device,
        country=context.country,
        hour=context.hour,
        weekday=context.weekday,
        referrer=context.referrer,
        search_term=context.search_term,
        values=context.values or {},
    )


def _anything_tires(bundle: Bundle) -> bool:
    return any(placement.fatigue is not None for placement in bundle.placements.values())


def _segments(
    permitted: PermittedPerson, user: User, context: RequestContext, bundle: Bundle, now: datetime
) -> tuple[str, ...]:
    """The rule-made segments that hold; of a person without permission, those of the moment."""
    rules = bundle.segments
    if not rules:
        return ()
    return segments_of(
        rules,
        events=permitted.known.history,
        profile=_profile(permitted, user),
        context=context_of(context),
        known=_is_customer(permitted),
        now=now,
    )


def _session(
    permitted: PermittedPerson,
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


def _profile(permitted: PermittedPerson, user: User) -> Profile:
    profile = permitted.known.profile
    if permitted.key is not None and user.account_id is not None:
        return msgspec.structs.replace(profile, account_id=user.account_id)
    return profile
