"""What every store promises about events, histories and identities."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.events.log import SCHEMA, EventLog
from recsys.events.schema import Event, Person
from recsys.events.views import open_log
from recsys.query.facts import LISTED_LIMIT
from recsys.query.history import StoredEvent
from recsys.store.protocol import KnownPerson, Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
Make = Callable[..., Event]


def items_of(store: Store, **ids: str) -> list[str]:
    return [row.item_id for row in store.person(Person(**ids)).history]


def put(store: Store, *events: Event) -> list[bool]:
    return store.append(events, received_at=NOON)


def logged_rows(log: EventLog) -> list[dict[str, object]]:
    return [row for path in log.files() for row in pq.read_table(path, schema=SCHEMA).to_pylist()]


def test_a_history_is_what_was_appended_oldest_first(store: Store, event: Make) -> None:
    put(
        store,
        event("purchase", minute=5, items=["c", "d"], user_id="u", session_id="s2"),
        event("view_item", minute=1, items=["a"], user_id="u", session_id="s1"),
    )
    known = store.person(Person(user_id="u"))
    assert known.key == "u:u"
    assert list(known.history) == [
        StoredEvent("a", "view_item", NOON.timestamp() + 60, "s1"),
        StoredEvent("c", "purchase", NOON.timestamp() + 300, "s2"),
        StoredEvent("d", "purchase", NOON.timestamp() + 300, "s2"),
    ]


def test_what_feedback_said_stands_in_the_history(store: Store, event: Make) -> None:
    put(store, event("feedback", items=["a"], user_id="u", action="not_interested"))
    assert store.person(Person("u")).history[0].action == "not_interested"


def test_a_stranger_is_empty_and_reading_leaves_nothing_behind(store: Store) -> None:
    for _ in range(2):
        assert store.person(Person("stranger", "unseen")) == KnownPerson()
    assert store.person(Person()) == KnownPerson()


def test_a_repeated_event_is_stored_once(store: Store, event: Make) -> None:
    first = event(items=["a"], user_id="u", event_id="one")
    again = event(items=["b"], user_id="u", event_id="one")
    other = event(minute=1, items=["c"], user_id="u", event_id="two")
    assert put(store, first, again, other, other) == [True, False, True, False]
    assert put(store, again, first) == [False, False]
    assert items_of(store, user_id="u") == ["a", "c"]


def test_an_empty_batch_is_no_event(store: Store) -> None:
    assert put(store) == []


def test_a_store_opened_again_has_everything(
    open_store: Callable[[], Store], event: Make, tmp_path: Path
) -> None:
    before = open_store()
    put(before, event(items=["a"], user_id="u", event_id="one"))
    before.close()
    after = open_store()
    assert items_of(after, user_id="u") == ["a"]
    assert put(after, event(items=["a"], user_id="u", event_id="one")) == [False]
    assert after.archive(EventLog(tmp_path / "log")) == 1


def test_the_newest_rows_are_kept_where_there_are_more_than_the_limit(
    store: Store, event: Make
) -> None:
    put(store, *(event(minute=n, items=[f"i{n}"], user_id="u") for n in range(30)))
    history = store.person(Person("u"), limit=4).history
    assert [row.item_id for row in history] == ["i26", "i27", "i28", "i29"]


def test_lists_that_were_merely_seen_do_not_push_out_what_was_done(
    store: Store, event: Make
) -> None:
    put(store, event("purchase", minute=0, items=["bought"], user_id="u"))
    for n in range(1, 5):
        page = [f"l{n}-{position}" for position in range(160)]
        put(store, event("view_item_list", minute=n, items=page, user_id="u"))
    put(store, event("view_item", minute=9, items=["seen"], user_id="u"))
    items = [row.item_id for row in store.person(Person("u"), limit=2).history]
    assert len(items) == LISTED_LIMIT + 2
    assert (items[0], items[1], items[-2], items[-1]) == ("bought", "l3-20", "l4-159", "seen")


def test_a_no_is_not_pushed_out_by_what_is_done_later(store: Store, event: Make) -> None:
    put(store, event("feedback", minute=0, items=["ugly"], user_id="u", action="never_again"))
    put(store, *(event(minute=n, items=[f"i{n}"], user_id="u") for n in range(1, 6)))
    history = store.person(Person("u"), limit=3).history
    assert [row.item_id for row in history] == ["ugly", "i3", "i4", "i5"]
    assert history[0].action == "never_again"


def test_a_visitor_who_logs_in_brings_their_history_along(store: Store, event: Make) -> None:
    put(store, event(minute=0, items=["before"], anonymous_id="v"))
    assert store.person(Person(anonymous_id="v")).key == "a:v"
    put(store, event("identify", minute=1, user_id="u", anonymous_id="v"))
    put(store, event(minute=2, items=["after"], anonymous_id="v"))
    assert items_of(store, user_id="u") == ["before", "after"]
    assert items_of(store, anonymous_id="v") == ["before", "after"]
    assert store.person(Person(anonymous_id="v")).key == "u:u"


def test_a_login_in_the_same_batch_joins_as_well(store: Store, event: Make) -> None:
    put(
        store,
        event(minute=0, items=["before"], anonymous_id="v"),
        event("identify", minute=1, user_id="u", anonymous_id="v"),
        event(minute=2, items=["after"], anonymous_id="v"),
    )
    assert items_of(store, user_id="u") == ["before", "after"]


def test_without_a_login_a_visitor_and_a_customer_are_joined_for_one_answer_only(
    store: Store, event: Make
) -> None:
    put(
        store,
        event(minute=0, items=["visitor"], anonymous_id="v"),
        event(minute=1, items=["customer"], user_id="u"),
    )
    both = store.person(Person("u", "v"))
    assert both.key == "u:u"
    assert [row.item_id for row in both.history] == ["visitor", "customer"]
    assert items_of(store, user_id="u") == ["customer"]
    assert items_of(store, anonymous_id="v") == ["visitor"]


def test_the_joined_history_keeps_to_the_limit(store: Store, event: Make) -> None:
    put(store, *(event(minute=n, items=[f"v{n}"], anonymous_id="v") for n in range(0, 20, 2)))
    put(store, *(event(minute=n, items=[f"u{n}"], user_id="u") for n in range(1, 20, 2)))
    history = store.person(Person("u", "v"), limit=3).history
    assert [row.item_id for row in history] == ["u17", "v18", "u19"]


def test_on_a_shared_device_each_customer_keeps_their_own(store: Store, event: Make) -> None:
    put(
        store,
        event("identify", minute=10, user_id="ann", anonymous_id="tablet"),
        event("identify", minute=20, user_id="bob", anonymous_id="tablet"),
        event(minute=5, items=["before"], anonymous_id="tablet"),
        event(minute=15, items=["anns"], anonymous_id="tablet"),
        event(minute=25, items=["bobs"], anonymous_id="tablet"),
    )
    assert items_of(store, user_id="ann") == ["before", "anns"]
    assert items_of(store, user_id="bob") == ["bobs"]
    assert items_of(store, user_id="ann", anonymous_id="tablet") == ["before", "anns"]
    assert store.person(Person(anonymous_id="tablet")).key == "u:bob"


MOMENTS = st.integers(0, 8)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("act"), MOMENTS, st.sampled_from(["", "ann", "bob"])),
        st.tuples(st.just("login"), MOMENTS, st.sampled_from(["ann", "bob"])),
    ),
    max_size=14,
    unique_by=lambda step: (step[0], step[1]),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS, batches=st.integers(1, 3))
def test_in_whatever_order_events_arrive_history_and_training_name_the_same_person(
    steps: list[tuple[str, int, str]],
    batches: int,
    open_store: Callable[[], Store],
    event: Make,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = open_store()
    device = f"device-{tmp_path_factory.mktemp('log').name}"
    people = {name: f"{name}-{device}" for name in ("ann", "bob")}  # one store, new people
    # Logins at full minutes, acts at half minutes: no two at one moment.
    events = [
        event(minute=minute + 0.5, items=[f"{device}/{minute}"], anonymous_id=device,
              user_id=people.get(user))
        if step == "act"
        else event("identify", minute=minute, anonymous_id=device, user_id=people[user])
        for step, minute, user in steps
    ]  # fmt: skip
    for first in range(batches):
        put(store, *events[first::batches])
    log = EventLog(tmp_path_factory.mktemp("log"))
    store.archive(log)

    asked = [Person(user_id=id) for id in people.values()]
    if store.person(Person(anonymous_id=device)).key == f"a:{device}":
        asked.append(Person(anonymous_id=device))
    stored = {row.item_id: person.key for person in asked for row in store.person(person).history}
    since = NOON - timedelta(days=1)
    with open_log(log, since=since, until=NOON + timedelta(days=1)) as connection:
        trained = dict(connection.sql("SELECT item_id, person FROM item_events").fetchall())
    assert stored == trained
    store.close()


def test_what_is_not_archived_yet_waits_in_the_order_of_arrival(
    store: Store, event: Make, tmp_path: Path
) -> None:
    late, early = event(minute=2, items=["tea"]), event(minute=1, items=["mug"])
    put(store, late, early)
    assert [event.event_id for event in store.waiting()] == [late.event_id, early.event_id]
    store.archive(EventLog(tmp_path / "log"))
    assert store.waiting() == []
