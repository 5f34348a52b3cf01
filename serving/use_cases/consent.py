"""Who may be known: what consent permits to be read, stored and used about a person.

Personalisation is permitted where the request consents, or is silent and the record consents, and
never while the latest statement on record refuses: a page that was rendered before a withdrawal
cannot undo it; only a later statement by event, profile or preferences can. Without consent an
answer depends on the page and the context of the request alone: no history, profile, session or
sticky variant is used, and no person is logged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from recsys.errors import StoreUnavailable
from recsys.events.schema import Consent, Person
from recsys.store.protocol import KnownPerson
from serving.api.schemas import RequestConsent, User
from serving.use_cases.person_reader import Persons

NOBODY: Final = KnownPerson()


@dataclass(frozen=True, slots=True)
class PermittedPerson:
    """What may be used about a person: `known` is empty and `key` None without consent.

    `account_id` is the account that the request names, None without consent. `came_as` is the
    key that a stranger's variant hangs on: the visitor's where both ids were sent. `degraded`: the
    store could not be read.
    """

    known: KnownPerson = NOBODY
    key: str | None = None
    account_id: str | None = None
    came_as: str | None = None
    degraded: bool = False

    @property
    def assigned(self) -> str | None:
        """The key of the A/B assignment, which stays when a visitor logs in; None without
        consent."""
        return None if self.key is None else self.known.assigned or self.came_as


def permitted_person(
    store: Persons, user: User, consent: RequestConsent | None, *, history_limit: int
) -> PermittedPerson:
    """What the store knows of the person of a request, as far as consent permits its use.

    The store is not read for a request that refuses or names nobody.
    """
    person = Person(user.user_id, user.anonymous_id)
    if person.key is None or _refuses(consent):
        return PermittedPerson()
    try:
        known = store.person(person, limit=history_limit, account_id=user.account_id)
    except StoreUnavailable:
        return PermittedPerson(degraded=True)
    if not may_personalise(consent, known.consent):
        return PermittedPerson()
    return PermittedPerson(
        known=known,
        key=known.key or person.key,
        account_id=user.account_id,
        came_as=Person(None, user.anonymous_id).key or person.key,
    )


def is_permitted(store: Persons, person: Person, consent: RequestConsent | None) -> bool:
    """Whether something may be stored about the person; StoreUnavailable where the
    record cannot be read."""
    if _refuses(consent):
        return False
    return may_personalise(consent, store.person(person, limit=1).consent)


def may_personalise(requested: RequestConsent | None, on_record: Consent | None) -> bool:
    """(the request's consent, else the record's) and no refusal on record."""
    if on_record is not None and not on_record.personalization:
        return False
    if requested is not None:
        return requested.personalization
    return on_record is not None


def _refuses(consent: RequestConsent | None) -> bool:
    return consent is not None and not consent.personalization
