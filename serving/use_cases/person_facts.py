"""The store's record of a permitted person, and the context of a request, as the library's values.

`recsys.query.builder` makes the query of both.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from recsys.ids import Vocabulary
from recsys.query.facts import NO_FACTS, PersonFacts
from recsys.query.feedback import feedback_state
from recsys.query.history import event_rows
from recsys.query.preferences import with_interests
from recsys.query.query import Context
from serving.api.schemas import RequestContext
from serving.use_cases.consent import PermittedPerson


def facts_of(
    permitted: PermittedPerson, items: Vocabulary, *, now: datetime, session_id: str | None
) -> PersonFacts:
    """The person's facts at `now` over the items of a bundle; NO_FACTS without consent.

    `session_id` names the visit under way; the account of the request goes before the declared
    one.
    """
    if permitted.key is None:
        return NO_FACTS
    known = permitted.known
    profile = with_interests(known.profile, known.preferences)
    if permitted.account_id is not None:
        profile = msgspec.structs.replace(profile, account_id=permitted.account_id)
    return PersonFacts(
        key=permitted.key,
        events=event_rows(known.history, items, session_id=session_id),
        feedback=feedback_state(known.history, now=now),
        account=event_rows(known.account, items),
        profile=profile,
        preferences=known.preferences,
    )


def context_of(context: RequestContext) -> Context:
    """The context of a request, which is not tied to a person."""
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
