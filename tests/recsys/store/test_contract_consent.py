"""What every store promises about consent: nothing is tied to a person who did not agree."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recsys.events.log import SCHEMA, EventLog
from recsys.events.schema import Consent, Event, Person
from recsys.query.profile import UNKNOWN, Profile
from recsys.store.protocol import KnownPerson, Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
YES = Consent(personalization=True, analytics=True)
NO = Consent(personalization=False, analytics=False)
ONLY_PERSONAL = Consent(personalization=True, analytics=False)
PERSONAL_COLUMNS = (
    "user_id",
    "anonymous_id",
    "session_id",
    "account_id",
    "search_term",
    "recommendation_id",
    "transaction_id",
    "country",
    "referrer",
)
Make = Callable[..., Event]


def put(store: Store, *events: Event) -> list[bool]:
    return store.append(events, received_at=NOON)


def logged_rows(store: Store, folder: Path) -> list[dict[str, object]]:
    log = EventLog(folder / "log")
    store.archive(log)
    return [row for path in log.files() for row in pq.read_table(path, schema=SCHEMA).to_pylist()]


@pytest.mark.parametrize("consent", [None, NO, Consent(personalization=False, analytics=True)])
def test_without_consent_nothing_tied_to_a_person_is_stored(
    store: Store, event: Make, tmp_path: Path, consent: Consent | None
) -> None:
    stored = put(
        store,
        event("purchase", items=["a", "b"], user_id="u", anonymous_id="v", session_id="s",
              account_id="c", transaction_id="t", recommendation_id="r", search_term="q",
              consent=consent),
    )  # fmt: skip
    assert stored == [True]
    assert store.person(Person("u", "v")) == KnownPerson()
    assert store.denied() == set()
    rows = logged_rows(store, tmp_path)
    assert [row["item_id"] for row in rows] == ["a", "b"]
    assert {row[name] for row in rows for name in PERSONAL_COLUMNS} == {None}


def test_no_byte_of_a_person_without_consent_is_in_the_stores_files(
    store: Store, event: Make, tmp_path: Path
) -> None:
    put(store, event(items=["a"], user_id="unwilling-person", consent=NO))
    put(store, event(items=["a"], user_id="unwilling-person", consent=None))
    put(store, event("identify", user_id="unwilling-person", anonymous_id="v", consent=NO))
    assert not [
        path.name
        for path in tmp_path.rglob("*")
        if path.is_file() and b"unwilling-person" in path.read_bytes()
    ]


def test_an_event_with_consent_puts_that_consent_on_record(store: Store, event: Make) -> None:
    put(store, event(items=["a"], user_id="u", consent=ONLY_PERSONAL))
    assert store.person(Person("u")).consent == ONLY_PERSONAL


def test_a_refusal_hides_what_is_known_and_is_on_the_list(store: Store, event: Make) -> None:
    put(store, event(minute=0, items=["a"], user_id="u"))
    put(store, event(minute=1, items=["b"], user_id="u", consent=NO))
    assert store.person(Person("u")) == KnownPerson(consent=NO)
    assert store.denied() == {"u:u"}


def test_after_a_refusal_an_older_consent_ties_nothing(
    store: Store, event: Make, tmp_path: Path
) -> None:
    put(store, event(minute=0, items=["a"], user_id="u"))
    put(store, event(minute=5, items=["b"], user_id="u", consent=NO))
    put(store, event(minute=4, items=["late"], user_id="u"))
    assert store.denied() == {"u:u"}
    late = [row for row in logged_rows(store, tmp_path) if row["item_id"] == "late"]
    assert [row["user_id"] for row in late] == [None]


def test_consent_given_again_lifts_the_refusal(store: Store, event: Make) -> None:
    put(store, event(minute=0, items=["a"], user_id="u"))
    put(store, event(minute=1, items=["b"], user_id="u", consent=NO))
    put(store, event(minute=2, items=["c"], user_id="u"))
    assert store.denied() == set()
    assert [row.item_id for row in store.person(Person("u")).history] == ["a", "c"]


@pytest.mark.parametrize("batches", [1, 2])
def test_the_later_statement_wins_in_whatever_order_they_arrive(
    store: Store, event: Make, batches: int
) -> None:
    put(store, event(minute=0, items=["a"], user_id="u"))
    events = [
        event(minute=9, items=["b"], user_id="u", consent=NO),
        event(minute=5, items=["c"], user_id="u", consent=YES),
    ]
    for first in range(batches):
        put(store, *events[first::batches])
    assert store.person(Person("u")).consent == NO


def test_of_two_statements_at_one_moment_the_refusal_wins(store: Store, event: Make) -> None:
    put(store, event(minute=0, items=["a"], user_id="u"))
    put(store, event(minute=5, items=["b"], user_id="u", consent=NO))
    put(store, event(minute=5, items=["c"], user_id="u", consent=YES))
    assert store.denied() == {"u:u"}


def test_identify_without_consent_joins_nothing(store: Store, event: Make) -> None:
    put(store, event(minute=0, items=["a"], anonymous_id="v"))
    put(store, event("identify", minute=1, user_id="u", anonymous_id="v", consent=None))
    assert store.person(Person("u")) == KnownPerson()
    assert [row.item_id for row in store.person(Person(anonymous_id="v")).history] == ["a"]


def test_a_login_older_than_the_customers_refusal_joins_nothing(store: Store, event: Make) -> None:
    put(store, event(minute=0, items=["a"], anonymous_id="v"), event(minute=0, user_id="u"))
    put(store, event(minute=9, user_id="u", consent=NO))
    put(store, event("identify", minute=5, user_id="u", anonymous_id="v"))
    assert store.person(Person(anonymous_id="v")).key == "a:v"
    assert store.denied() == {"u:u"}


def test_after_a_login_the_visitors_refusal_is_the_customers(store: Store, event: Make) -> None:
    put(store, event("identify", minute=1, user_id="u", anonymous_id="v"))
    put(store, event(minute=2, items=["a"], anonymous_id="v", consent=NO))
    assert store.person(Person("u")) == KnownPerson(consent=NO)
    assert store.denied() == {"u:u", "a:v"}


def test_a_visitors_refusal_is_lifted_by_a_later_login_with_consent(
    store: Store, event: Make
) -> None:
    put(store, event(minute=0, items=["a"], anonymous_id="v"))
    put(store, event(minute=1, anonymous_id="v", consent=NO))
    put(store, event("identify", minute=2, user_id="u", anonymous_id="v", consent=YES))
    assert store.denied() == set()
    assert store.person(Person("u")).consent == YES


def test_asked_with_both_ids_the_latest_statement_counts(store: Store, event: Make) -> None:
    put(store, event(minute=0, items=["a"], user_id="u"), event(items=["b"], anonymous_id="v"))
    put(store, event(minute=3, anonymous_id="v", consent=NO))
    assert store.person(Person("u", "v")) == KnownPerson(consent=NO)
    put(store, event(minute=4, user_id="u", consent=YES))
    assert store.person(Person("u", "v")).consent == YES


def test_a_statement_with_both_ids_is_about_both(store: Store, event: Make) -> None:
    put(store, event(minute=0, items=["a"], user_id="u"), event(items=["b"], anonymous_id="v"))
    put(store, event(minute=3, user_id="u", anonymous_id="v", consent=NO))
    assert store.denied() == {"u:u", "a:v"}


def test_a_statement_on_a_shared_device_is_about_the_customer_who_made_it(
    store: Store, event: Make
) -> None:
    put(store, event("identify", minute=0, user_id="ann", anonymous_id="tablet"))
    put(store, event(minute=1, items=["a"], user_id="bob"))
    put(store, event(minute=2, user_id="bob", anonymous_id="tablet", consent=NO))
    assert store.denied() == {"u:bob"}


def test_a_profile_can_state_consent(store: Store, event: Make) -> None:
    store.put_profiles([Profile(user_id="u", country="NL", consent=YES)], received_at=NOON)
    assert store.person(Person("u")).consent == YES
    store.put_profiles([Profile(user_id="u", consent=NO)], received_at=NOON)
    assert store.denied() == {"u:u"}
    assert store.profiles() == {}
    assert store.person(Person("u")).profile == UNKNOWN


def test_a_refusing_stranger_leaves_no_profile_behind(store: Store) -> None:
    store.put_profiles([Profile(user_id="u", country="NL", consent=NO)], received_at=NOON)
    assert store.profiles() == {}
    assert store.denied() == set()
    assert store.person(Person("u")) == KnownPerson()


def test_nothing_is_declared_about_somebody_who_refuses(store: Store, event: Make) -> None:
    put(store, event(minute=-2, items=["a"], user_id="u"))
    put(store, event(minute=-1, user_id="u", consent=NO))
    store.put_profiles([Profile(user_id="u", country="NL")], received_at=NOON)
    put(store, event(minute=1, user_id="u", consent=YES))
    assert store.person(Person("u")).profile == UNKNOWN


def test_who_does_not_allow_analytics_is_on_a_list_by_the_latest_statement(
    store: Store, event: Make
) -> None:
    put(store, event("identify", minute=1, user_id="u", anonymous_id="v"))
    put(store, event(minute=1, items=["a"], user_id="w", consent=ONLY_PERSONAL))
    assert store.unmeasured() == {"u:w"}
    put(store, event(minute=2, items=["a"], user_id="u", consent=ONLY_PERSONAL))
    assert store.unmeasured() == {"u:u", "a:v", "u:w"}
    assert store.denied() == set()
    put(store, event(minute=3, items=["a"], user_id="u", consent=YES))
    put(store, event(minute=0, items=["a"], user_id="u", consent=ONLY_PERSONAL))
    assert store.unmeasured() == {"u:w"}
