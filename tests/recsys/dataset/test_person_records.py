"""Facts from the event log: those of the moment of the question, and nothing from after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.events.log import EventLog, rows
from recsys.events.schema import Event, parse_event
from recsys.events.weighting import Weighting
from recsys.query.facts import HISTORY_LIMIT, LISTED_LIMIT
from recsys.query.preferences import Exclusions, Interests, Preferences
from recsys.query.profile import Profile
from recsys.query.query import Context

NOW = datetime(2026, 11, 1, 20, tzinfo=UTC)


def event(kind: str, *items: str, minutes: float = 60, user: str = "u", **fields: Any) -> Event:
    """An event so many minutes before NOW (after it, where they are negative)."""
    return parse_event(
        {
            "event_id": f"{kind}-{user}-{minutes}-{'-'.join(items)}",
            "event": kind,
            "timestamp": (NOW - timedelta(minutes=minutes)).isoformat(),
            "user_id": user,
            "items": [{"item_id": item} for item in items],
            "consent": {"personalization": True},
            **fields,
        }
    )


def read(folder: Path, *events: Event, as_of: datetime = NOW, **known: Any) -> TrainingData:
    log = EventLog(folder)
    log.append(rows(events), part="all")
    return read_training_data(log, as_of=as_of, weighting=Weighting(), **known)


def test_nothing_from_at_or_after_the_moment_is_known(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        event("view_item", "a", minutes=60),
        event("feedback", "a", minutes=40, action="never_again"),
        event("custom", minutes=30, name="video"),
        event("add_to_cart", "b", minutes=20, account_id="x", context={"device": "mobile"}),
        event("purchase", "c", minutes=20, user="colleague", account_id="x"),
        event("view_item", "late", minutes=-5),
        event("feedback", "b", minutes=-5, action="not_interested"),
        event("purchase", "d", minutes=-5, user="colleague", account_id="x"),
    )
    for minutes in (0, 10, 20, 25, 35, 45, 70):
        now = NOW - timedelta(minutes=minutes)
        facts = data.facts("u:u", now=now)
        assert facts.events.times.max(initial=0.0) < now.timestamp()
        assert facts.account.times.max(initial=0.0) < now.timestamp()
        assert facts.feedback.refused == ({"a"} if minutes < 40 else set())
        assert facts.profile.account_id == ("x" if minutes < 20 else None)
        assert len(facts.account) == (minutes < 20)
        assert (data.records.context("u:u", now=now) != Context()) is (minutes < 20)


def test_a_refusal_that_comes_later_leaves_the_history_before_it_as_it_was(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        event("view_item", "a", minutes=60),
        event("view_item", "b", minutes=50),
        event("feedback", "a", minutes=10, action="never_again"),
    )
    (before,) = data.queries(["u:u"], now=NOW - timedelta(minutes=30))
    (after,) = data.queries(["u:u"], now=NOW)
    assert data.items.ids(before.history.items) == ["a", "b"]
    assert data.items.ids(after.history.items) == ["b"]
    assert data.items.ids(after.refused) == data.items.ids(after.disliked) == ["a"]
    assert len(before.refused) == 0


def test_feedback_without_an_action_on_an_item_is_known_too(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        event("view_item", "a"),
        event("feedback", minutes=5, action="never_again", brand="Quay", category=["Home", "Mugs"]),
        event("feedback", "b", minutes=4, user="new", action="snooze", days=2),
    )
    feedback = data.facts("u:u", now=NOW).feedback
    assert feedback.refused_brands == {"Quay"}
    assert feedback.refused_categories == {"Home > Mugs"}
    stranger = data.facts("u:new", now=NOW)
    assert stranger.feedback.refused == {"b"}
    assert stranger.feedback.disliked == frozenset()


def test_the_visit_under_way_is_that_of_the_newest_event(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        event("view_item", "a", minutes=90, session_id="now"),
        event("view_item", "b", minutes=25, session_id="other"),
        event("view_item", "c", minutes=20, session_id="now"),
        event("view_item", "a", minutes=40, user="unnamed"),
        event("view_item", "b", minutes=20, user="unnamed"),
    )
    named, unnamed = data.queries(["u:u", "u:unnamed"], now=NOW)
    assert data.items.ids(named.session.items) == ["a", "c"]
    assert data.items.ids(unnamed.session.items) == ["b"]
    for query in data.queries(["u:u", "u:unnamed"], now=NOW + timedelta(minutes=30)):
        assert len(query.session) == 0
        assert len(query.history) > 0


def test_a_history_holds_the_newest_rows_up_to_the_limits_of_the_store(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        *(
            event(kind, f"{kind}-{n}", minutes=n + offset)
            for kind, most, offset in (
                ("view_item", HISTORY_LIMIT, 0.5),
                ("view_item_list", LISTED_LIMIT, 0.25),
            )
            for n in range(most + 7)
        ),
    )
    items = data.items.ids(data.facts("u:u", now=NOW).events.items)
    assert sum(item.startswith("view_item-") for item in items) == HISTORY_LIMIT
    assert sum(item.startswith("view_item_list-") for item in items) == LISTED_LIMIT
    assert {"view_item-0", "view_item_list-0"} <= set(items)
    assert not {f"view_item-{HISTORY_LIMIT}", f"view_item_list-{LISTED_LIMIT}"} & set(items)


def test_the_account_holds_what_its_other_members_did(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        event("view_item", "a"),
        event("purchase", "b", minutes=50, user="colleague"),
        event("view_item_list", "c", minutes=45, user="colleague"),
        event("purchase", "d", minutes=40, user="stranger"),
        profiles={
            "u:u": Profile(user_id="u", account_id="x"),
            "u:colleague": Profile(user_id="colleague", account_id="x"),
        },
    )
    (query,) = data.queries(["u:u"], now=NOW)
    assert query.account is not None
    assert data.items.ids(query.account.items) == ["b"]
    assert data.queries(["u:stranger"], now=NOW)[0].account is None


def test_an_account_without_a_member_who_may_be_known_is_empty(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        event("view_item", "a", account_id="x"),
        event("purchase", "b", minutes=50, user="colleague", account_id="x"),
        denied={"u:colleague"},
    )
    assert len(data.facts("u:u", now=NOW).account) == 0


def test_preferences_are_those_that_the_store_holds(tmp_path: Path) -> None:
    data = read(
        tmp_path,
        event("view_item", "a"),
        event("view_item", "b", user="shop"),
        preferences={
            "u:u": Preferences(
                interests=Interests(brands=["Quay"]), exclusions=Exclusions(items=["b"])
            ),
            "u:shop": Preferences(order="shop"),
        },
    )
    (query,) = data.queries(["u:u"], now=NOW)
    assert data.items.ids(query.refused) == ["b"]
    assert query.profile.traits == {"interest in Quay": True}
    (in_order_of_the_shop,) = data.queries(["u:shop"], now=NOW)
    assert len(in_order_of_the_shop.history) == 0
    assert not in_order_of_the_shop.known


@pytest.mark.parametrize("person", ["a:visitor", "u:nobody"])
def test_whoever_has_done_nothing_is_a_stranger(tmp_path: Path, person: str) -> None:
    data = read(
        tmp_path,
        event("view_item", "a"),
        profiles={person: Profile(country="NL", account_id="x")},
    )
    facts = data.facts(person, now=NOW)
    assert len(facts.events) == 0
    assert facts.profile.country is None


def test_a_log_without_the_columns_of_feedback_on_brands_is_read(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    refusal = event("feedback", "b", minutes=9, action="never_again")
    log.append(rows([event("view_item", "a"), refusal]), part="all")
    for path in log.files():
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.drop_columns(["brand", "category", "days"]), path)
    data = read_training_data(log, as_of=NOW, weighting=Weighting())
    assert data.facts("u:u", now=NOW).feedback.disliked == {"b"}
