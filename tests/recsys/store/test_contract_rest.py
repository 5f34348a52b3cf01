"""What every store promises about profiles, the catalogue and logged answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from recsys.catalog.items import Item
from recsys.errors import StoreUnavailable
from recsys.events.schema import Event, Person
from recsys.query.profile import Profile
from recsys.store.protocol import CatalogChanges, LoggedAnswer, Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
Make = Callable[..., Event]


def answer(id: str, *, minute: float, person: str | None = None) -> LoggedAnswer:
    return LoggedAnswer(
        recommendation_id=id,
        time=NOON.timestamp() + 60 * minute,
        placement="for_you",
        variant="champion",
        model_version="7",
        item_ids=["b", "a"],
        sources=["als", "popularity"],
        levels=["individual", "everybody"],
        scores=[0.5, math.inf],
        propensities=[1.0, 0.25],
        person=person,
        context={"device": "mobile"},
    )


def test_a_declared_profile_comes_back(store: Store) -> None:
    profile = Profile(user_id="u", country="NL", traits={"size": "M", "age": 40.0})
    store.put_profiles([profile], received_at=NOON)
    assert store.profiles() == {"u:u": profile}
    assert store.person(Person("u")).profile == profile


def test_what_a_profile_leaves_out_keeps_its_value(store: Store) -> None:
    first = Profile(user_id="u", country="NL", customer_group="gold", traits={"a": "1", "b": "2"})
    second = Profile(user_id="u", country="BE", account_id="acme", traits={"b": "3"})
    store.put_profiles([first, second], received_at=NOON)
    assert store.profiles()["u:u"] == Profile(
        user_id="u",
        country="BE",
        customer_group="gold",
        account_id="acme",
        traits={"a": "1", "b": "3"},
    )


def test_a_visitors_profile_fills_the_gaps_of_the_customers(store: Store, event: Make) -> None:
    store.put_profiles(
        [
            Profile(anonymous_id="v", country="NL", customer_group="web"),
            Profile(user_id="u", country="BE"),
        ],
        received_at=NOON,
    )
    joined = Profile(user_id="u", country="BE", customer_group="web")
    assert store.person(Person("u", "v")).profile == joined
    store.append([event("identify", user_id="u", anonymous_id="v")], received_at=NOON)
    assert store.profiles() == {"u:u": joined}
    store.put_profiles(
        [Profile(anonymous_id="v", country="DE")], received_at=NOON + timedelta(hours=1)
    )
    assert store.person(Person("u")).profile.country == "DE"


def test_items_are_replaced_whole(store: Store) -> None:
    store.put_items([Item(item_id="b", title="B"), Item(item_id="a", price=2.5)], received_at=NOON)
    store.put_items([Item(item_id="b", stock=3)], received_at=NOON)
    assert store.items() == [Item(item_id="a", price=2.5), Item(item_id="b", stock=3)]


def test_of_one_item_twice_in_a_call_the_last_stands(store: Store) -> None:
    store.put_items([Item(item_id="a", stock=1), Item(item_id="a", stock=2)], received_at=NOON)
    assert store.items() == [Item(item_id="a", stock=2)]


def test_changes_since_a_revision_are_what_was_put_after_it(store: Store) -> None:
    assert store.catalog_changes(since=0) == CatalogChanges(0, ())
    first = store.put_items([Item(item_id="a"), Item(item_id="b")], received_at=NOON)
    second = store.put_items([Item(item_id="a", stock=0)], received_at=NOON)
    assert second > first > 0
    since_first = store.catalog_changes(since=first)
    assert since_first.revision == second
    assert list(since_first.items) == [Item(item_id="a", stock=0)]
    assert {item.item_id for item in store.catalog_changes(since=0).items} == {"a", "b"}
    assert list(store.catalog_changes(since=second).items) == []


def test_a_change_is_seen_through_another_opening_of_the_store(
    open_store: Callable[[], Store],
) -> None:
    first, second = open_store(), open_store()
    second.catalog_changes(since=0)
    revision = first.put_items([Item(item_id="a", price=1.0)], received_at=NOON)
    assert second.catalog_changes(since=0).revision == revision


def test_answers_come_back_oldest_first_within_the_time_asked(store: Store) -> None:
    store.log_answers([answer("late", minute=5), answer("early", minute=1, person="u:u")])
    store.log_answers([answer("at the end", minute=9)])
    read = store.answers(since=NOON + timedelta(minutes=1), until=NOON + timedelta(minutes=9))
    assert read == [answer("early", minute=1, person="u:u"), answer("late", minute=5)]


def test_more_answers_than_one_part_come_one_by_one_and_each_once(store: Store) -> None:
    # Many at one moment, across the border of a part.
    logged = [answer(f"r-{n:05}", minute=float(n > 3000)) for n in range(5300)]
    store.log_answers(logged)
    read = store.each_answer(since=NOON, until=NOON + timedelta(minutes=5))
    assert [entry.recommendation_id for entry in read] == [
        entry.recommendation_id for entry in logged
    ]
    until = NOON + timedelta(minutes=1)
    assert store.count_answers(since=NOON, until=until, at_most=9000) == 3001
    assert store.count_answers(since=NOON, until=until, at_most=100) == 100


def test_a_closed_store_says_so(store: Store, event: Make) -> None:
    store.person(Person("u"))
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.append([event(items=["a"])], received_at=NOON)
    with pytest.raises(StoreUnavailable, match="closed"):
        store.person(Person("u"))
