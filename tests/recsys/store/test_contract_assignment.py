"""What a person's variant hangs on stays the same when a visitor logs in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from recsys.events.schema import Consent, Event, Person
from recsys.query.profile import Profile
from recsys.store.protocol import Store

Make = Callable[..., Event]
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def put(store: Store, *events: Event) -> None:
    store.append(events, received_at=NOON)


def assigned(
    store: Store, user_id: str | None = None, anonymous_id: str | None = None
) -> str | None:
    return store.person(Person(user_id, anonymous_id)).assigned


def every_way(store: Store) -> set[str]:
    """Whichever ids a shop sends of the customer `u`, who came as visitor `v`."""
    return {assigned(store, "u"), assigned(store, "u", "v"), assigned(store, None, "v")}


def test_a_new_customer_keeps_the_visitors_assignment(store: Store, event: Make) -> None:
    put(store, event("view_item", anonymous_id="v", items=["tea"]))
    assert assigned(store, None, "v") == "a:v"
    assert assigned(store, "u", "v") == "a:v"  # before the login was told
    put(store, event("identify", minute=1, user_id="u", anonymous_id="v"))
    assert every_way(store) == {"a:v"}
    put(store, event("purchase", minute=2, user_id="u", items=["tea"]))
    assert every_way(store) == {"a:v"}


def test_a_visitor_of_whom_nothing_was_stored_is_kept_too(store: Store, event: Make) -> None:
    assert assigned(store, None, "v") is None
    put(store, event("view_item", user_id="u", anonymous_id="v", items=["tea"]))
    assert assigned(store, "u") == "a:v"
    put(store, event("identify", minute=1, user_id="u", anonymous_id="v"))
    assert every_way(store) == {"a:v"}


def test_a_customer_whose_profile_came_first_keeps_the_visitors_assignment(
    store: Store, event: Make
) -> None:
    store.put_profiles([Profile(user_id="u", country="NL")], received_at=NOON)
    assert assigned(store, "u", "v") == "a:v"
    put(store, event("identify", minute=1, user_id="u", anonymous_id="v"))
    assert every_way(store) == {"a:v"}


def test_a_customer_who_is_known_keeps_their_own_on_another_device(
    store: Store, event: Make
) -> None:
    put(store, event("purchase", user_id="u", items=["tea"]))
    assert assigned(store, "u") == "u:u"
    assert assigned(store, "u", "v") == "u:u"
    put(store, event("identify", minute=1, user_id="u", anonymous_id="v"))
    assert every_way(store) == {"u:u"}


def test_two_devices_are_one_assignment(store: Store, event: Make) -> None:
    put(store, event("identify", user_id="u", anonymous_id="v"))
    put(store, event("identify", minute=1, user_id="u", anonymous_id="tablet"))
    assert every_way(store) == {"a:v"}
    assert assigned(store, None, "tablet") == "a:v"


def test_the_second_customer_on_a_device_has_an_assignment_of_their_own(
    store: Store, event: Make
) -> None:
    put(store, event("identify", user_id="ann", anonymous_id="tablet"))
    put(store, event("identify", minute=1, user_id="ben", anonymous_id="tablet"))
    assert assigned(store, "ann") == "a:tablet"
    assert assigned(store, "ben") == "u:ben"


@pytest.mark.parametrize("consent", [Consent(personalization=False), None])
def test_without_consent_nothing_is_settled(
    store: Store, event: Make, consent: Consent | None
) -> None:
    put(store, event("identify", user_id="u", anonymous_id="v", consent=consent))
    assert assigned(store, "u") is None


def test_the_assignment_is_exported_and_erased_with_the_person(store: Store, event: Make) -> None:
    put(store, event("identify", user_id="u", anonymous_id="v"))
    (record, *_) = store.export(Person("u"), section="person", offset=0, limit=10)
    assert record["variant_hangs_on"] == "a:v"
    store.erase(Person("u"), receipt="e-1", at=NOON)
    assert assigned(store, "u") is None
