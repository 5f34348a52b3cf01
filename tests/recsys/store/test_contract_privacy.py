"""What every store promises about access, erasure and how long it remembers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recsys.events.log import SCHEMA, EventLog
from recsys.events.pseudonyms import pseudonyms_of
from recsys.events.schema import Consent, Event, Person
from recsys.query.preferences import Interests, Preferences
from recsys.query.profile import Profile
from recsys.store.erasure import Removed
from recsys.store.protocol import EXPORT_SECTIONS, LoggedAnswer, Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
YES = Consent(personalization=True, analytics=True)
NO = Consent(personalization=False, analytics=False)
Make = Callable[..., Event]


def put(store: Store, *events: Event) -> list[bool]:
    return store.append(events, received_at=NOON)


def answer(person: str | None, *, at: datetime = NOON) -> LoggedAnswer:
    return LoggedAnswer("r-1", at.timestamp(), "for_you", "champion", "v1", ["a"], ["als"],
                        ["individual"], [1.0], [1.0], person=person)  # fmt: skip


def everything(store: Store, person: Person) -> dict[str, list[object]]:
    """All that is held, section by section, read in pages of one."""
    exported: dict[str, list[object]] = {}
    for section in EXPORT_SECTIONS:
        offset = 0
        while page := store.export(person, section=section, offset=offset, limit=1):
            exported.setdefault(section, []).extend(page)
            offset += len(page)
    return exported


@pytest.fixture
def known(store: Store, event: Make, tmp_path: Path) -> Store:
    """`u` bought in the log, logged in as visitor `v`, wished, saw a list; so did `other`."""
    put(
        store,
        event("purchase", items=["a"], user_id="u", account_id="acme"),
        event("view_item", items=["b"], anonymous_id="v"),
        event("purchase", items=["z"], user_id="other", account_id="acme"),
    )
    store.archive(EventLog(tmp_path / "log"))
    put(
        store,
        event("identify", minute=1, user_id="u", anonymous_id="v"),
        event("search", minute=2, user_id="u", search_term="private"),
        event("view_item", minute=3, items=["c"], anonymous_id="v"),
        event("view_item", minute=3, items=["y"], user_id="other"),
    )
    store.put_profiles([Profile(user_id="u", country="NL")], received_at=NOON)
    store.put_preferences(
        [Preferences(user_id="u", interests=Interests(brands=["q"]))], received_at=NOON
    )
    store.log_answers([answer("u:u"), answer("u:other"), answer(None)])
    return store


def test_an_export_shows_all_that_is_held_and_nothing_of_others(known: Store) -> None:
    exported = everything(known, Person("u"))
    assert set(exported) == set(EXPORT_SECTIONS)
    text = str(exported)
    for shown in ("NL", "private", "'v'", "'a'", "'b'", "'c'", "'q'"):
        assert shown in text, shown
    assert "other" not in text
    assert "'z'" not in text
    assert everything(known, Person("stranger")) == {}


def test_an_erased_person_is_a_stranger_and_others_are_as_before(
    known: Store, tmp_path: Path
) -> None:
    before = known.person(Person("other"))
    erasure = known.erase(Person("u"), receipt="x-1", at=LATER)
    assert erasure.removed == Removed(
        history=3, account=1, waiting=3, profiles=1, identities=1, answers=1
    )
    assert erasure.log_time is None
    assert everything(known, Person("u")) == {}
    assert everything(known, Person("u", "v")) == {}
    assert known.person(Person("u")).history == ()
    assert known.person(Person("other")).history == before.history
    given = known.answers(since=NOON, until=LATER)
    assert [answer.person for answer in given] == [None, "u:other", None]
    assert given[0].item_ids == ["a"]


def test_erasing_again_gives_the_same_receipt(known: Store, tmp_path: Path) -> None:
    first = known.erase(Person("u"), receipt="x-1", at=LATER)
    again = known.erase(Person("u"), receipt="x-2", at=LATER + timedelta(hours=1))
    assert again == first
    known.clear_log(EventLog(tmp_path / "log"), at=LATER)
    done = known.erase(Person("u"), receipt="x-3", at=LATER)
    assert (done.receipt, done.log_time, done.log_rows) == ("x-1", LATER.timestamp(), 2)


def test_the_log_is_cleared_once_of_everybody_erased(known: Store, tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log")
    known.erase(Person("u"), receipt="x-1", at=LATER)
    # An archive that had read the events before the erasure would have written this.
    assert known.clear_log(log, at=LATER) == 2
    rows = [row for path in log.files() for row in pq.read_table(path, schema=SCHEMA).to_pylist()]
    assert [row["user_id"] for row in rows] == ["other"]
    assert known.clear_log(log, at=LATER) == 0


def test_a_shared_device_is_erased_with_one_customer_but_not_the_other(
    store: Store, event: Make, tmp_path: Path
) -> None:
    put(
        store,
        event("identify", minute=0, user_id="ann", anonymous_id="tablet"),
        event(minute=1, items=["of-ann"], anonymous_id="tablet"),
        event("identify", minute=2, user_id="bob", anonymous_id="tablet"),
        event(minute=3, items=["of-bob"], anonymous_id="tablet", user_id="bob"),
    )
    store.erase(Person("ann"), receipt="x", at=LATER)
    assert [row.item_id for row in store.person(Person("bob")).history] == ["of-bob"]
    assert store.person(Person("ann")).history == ()
    log = EventLog(tmp_path / "log")
    store.archive(log)
    rows = [row for path in log.files() for row in pq.read_table(path, schema=SCHEMA).to_pylist()]
    assert {row["user_id"] for row in rows} == {"bob"}


def test_a_visitor_can_be_erased_without_the_customer(store: Store, event: Make) -> None:
    put(
        store,
        event(minute=0, items=["as-visitor"], anonymous_id="v"),
        event("identify", minute=1, user_id="u", anonymous_id="v"),
        event(minute=2, items=["as-customer"], user_id="u"),
    )
    removed = store.erase(Person(anonymous_id="v"), receipt="x", at=LATER).removed
    assert removed.history == 1
    assert [row.item_id for row in store.person(Person("u")).history] == ["as-customer"]
    assert store.person(Person(anonymous_id="v")).history == ()


def test_what_happened_before_an_erasure_and_arrives_later_is_nobodys(
    store: Store, event: Make, tmp_path: Path
) -> None:
    put(store, event(minute=0, items=["a"], user_id="u"))
    store.erase(Person("u"), receipt="x", at=LATER)
    put(store, event(minute=30, items=["late"], user_id="u"))
    store.log_answers([answer("u:u")])
    assert everything(store, Person("u")) == {}
    put(store, event(minute=90, items=["anew"], user_id="u"))
    store.log_answers([answer("u:u", at=LATER + timedelta(hours=1))])
    assert [row.item_id for row in store.person(Person("u")).history] == ["anew"]
    assert len(everything(store, Person("u"))["answers"]) == 1
    log = EventLog(tmp_path / "log")
    store.archive(log)
    # The later erasure takes what came anew, and finds nothing of the first.
    store.erase(Person("u"), receipt="y", at=LATER + timedelta(days=1))
    assert store.clear_log(log, at=LATER) == 1


def test_an_erased_id_stands_in_none_of_the_stores_files(
    open_store: Callable[[], Store], event: Make, tmp_path: Path
) -> None:
    store = open_store()
    for n in range(300):
        put(
            store,
            event("purchase", minute=n / 10, items=[f"i{n}"], user_id="very-private",
                  session_id=f"private-visit-{n}", search_term="private words"),
            event(items=["a"], user_id=f"somebody-{n}"),
        )  # fmt: skip
    put(store, event("identify", minute=40, user_id="very-private", anonymous_id="private-phone"))
    store.log_answers([answer("u:very-private")])
    store.erase(Person("very-private"), receipt="x", at=LATER)

    def left() -> list[str]:
        return [
            path.name
            for path in tmp_path.rglob("*")
            if path.is_file() and b"private" in path.read_bytes()
        ]

    assert left() == []
    store.close()
    open_store().close()
    assert left() == []


def test_erased_users_are_the_erased_and_those_who_refuse(store: Store, event: Make) -> None:
    start = store.erased_users()
    assert start is not None
    assert start.pseudonyms.tolist() == []
    put(store, event(items=["a"], user_id="u"), event("identify", user_id="w", anonymous_id="v"))
    assert store.erased_users(since=start.revision) is None
    put(store, event(minute=1, user_id="u", consent=NO))
    refused = store.erased_users(since=start.revision)
    assert refused is not None
    assert set(refused.pseudonyms.tolist()) == set(pseudonyms_of(["u:u"]).tolist())
    store.erase(Person("w"), receipt="x", at=LATER)
    erased = store.erased_users(since=refused.revision)
    assert erased is not None
    assert set(erased.pseudonyms.tolist()) == set(pseudonyms_of(["u:u", "u:w", "a:v"]).tolist())
    put(store, event(minute=90, items=["a"], user_id="u"))
    again = store.erased_users(since=erased.revision)
    assert again is not None
    assert code("u:u") not in again.pseudonyms.tolist()


def code(person: str) -> int:
    return int(pseudonyms_of([person])[0])


def test_old_ids_and_answers_are_pruned_and_those_of_imports_are_not(
    store: Store, event: Make
) -> None:
    old = NOON - timedelta(days=60)
    store.append([event(event_id="old")], received_at=old)
    store.append([event(event_id="imported")], received_at=old, lasting=True)
    store.append([event(event_id="new")], received_at=NOON)
    store.log_answers([answer(None, at=old), answer(None)])
    before = NOON - timedelta(days=45)
    assert store.prune(event_ids_before=before, answers_before=before) == (1, 1)
    assert store.prune(event_ids_before=before, answers_before=before) == (0, 0)
    again = [event(event_id=id) for id in ("old", "imported", "new")]
    assert store.append(again, received_at=NOON) == [True, False, False]
    assert len(store.answers(since=old, until=LATER)) == 1


def test_many_old_ids_are_pruned_in_small_transactions(store: Store, event: Make) -> None:
    store.append([event(event_id=f"e{n}") for n in range(5000)], received_at=NOON)
    assert store.prune(event_ids_before=LATER, answers_before=LATER)[0] == 5000
