"""The builder: what each fact, the moment and the settings do to a query."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from recsys.events.weighting import Weighting
from recsys.ids import Vocabulary
from recsys.query.builder import (
    QuerySettings,
    build_query,
    history_of,
    personal_rules_of,
    stranger_query,
)
from recsys.query.facts import NO_FACTS, PersonFacts
from recsys.query.feedback import feedback_state
from recsys.query.history import StoredEvent, event_rows
from recsys.query.preferences import Exclusions, Interests, Preferences, with_interests
from recsys.query.profile import UNKNOWN, Profile
from recsys.query.query import Context, Query
from recsys.query.segments import Segment

NOW = datetime(2026, 10, 7, 12, tzinfo=UTC)
ITEMS = Vocabulary(["a", "b", "c", "d"])
SETTINGS = QuerySettings(ITEMS, Weighting(half_life_days=10), weighed_at=NOW)


def done(kind: str, item: str, minutes: float, **fields: Any) -> StoredEvent:
    return StoredEvent(item, kind, NOW.timestamp() - 60 * minutes, **fields)


def facts(*events: StoredEvent, session_id: str | None = None, **known: Any) -> PersonFacts:
    return PersonFacts(
        key="u:u",
        events=event_rows(events, ITEMS, session_id=session_id),
        feedback=feedback_state(events, now=NOW),
        **known,
    )


def ids(numbers: np.ndarray) -> list[str]:
    return ITEMS.ids(numbers)


def test_nothing_is_known_of_a_stranger_but_the_context() -> None:
    context = Context(country="NL")
    query = build_query(NO_FACTS, SETTINGS, now=NOW, context=context)
    empty = stranger_query(NOW, context=context)
    for field in fields(Query):
        built, expected = getattr(query, field.name), getattr(empty, field.name)
        assert (len(built) if isinstance(built, np.ndarray) else built) == (
            len(expected) if isinstance(expected, np.ndarray) else expected
        )


def test_unknown_and_disliked_items_and_feedback_are_not_in_the_history() -> None:
    query = build_query(
        facts(
            done("view_item", "a", 60),
            done("view_item", "b", 50),
            done("view_item", "gone", 45),
            done("feedback", "a", 40, action="wrong"),
            done("feedback", "c", 30, action="like"),
            done("feedback", "c", 20, action="like"),
            done("feedback", "d", 10, action="snooze"),
        ),
        SETTINGS,
        now=NOW,
    )
    assert ids(query.history.items) == ["b", "c"]
    assert query.history.times.tolist() == [NOW.timestamp() - 3000, NOW.timestamp() - 1200]
    assert ids(query.refused) == ["a", "d"]
    assert ids(query.disliked) == ["a"]


def test_the_session_is_the_named_visit_or_the_last_session_gap() -> None:
    events = (
        done("view_item", "a", 90, session_id="s"),
        done("view_item", "b", 20),
        done("view_item", "c", 5, session_id="s"),
    )
    named = build_query(facts(*events, session_id="s"), SETTINGS, now=NOW)
    assert ids(named.session.items) == ["a", "c"]
    unnamed = build_query(facts(*events), SETTINGS, now=NOW)
    assert ids(unnamed.session.items) == ["b", "c"]
    short = replace(SETTINGS, session_gap=timedelta(minutes=10))
    assert ids(build_query(facts(*events), short, now=NOW).session.items) == ["c"]
    heaviest = dict(zip(named.history.items.tolist(), named.history.weights, strict=True))
    assert named.session.weights.tolist() == [heaviest[0], heaviest[2]]


def test_a_bundle_that_waits_weighs_a_history_as_on_its_first_day() -> None:
    rows = event_rows([done("purchase", "a", 60 * 24 * 10)], ITEMS)
    first = history_of(rows, SETTINGS, now=NOW).weights
    assert first.tolist() == [2.5]
    late = history_of(rows, SETTINGS, now=NOW + timedelta(days=100)).weights
    assert late.tolist() == first.tolist()
    earlier = replace(SETTINGS, weighed_at=NOW - timedelta(days=20))
    assert history_of(rows, earlier, now=NOW).weights.tolist() == [5.0]


def test_impressions_are_counted_only_where_a_placement_caps_them() -> None:
    seen = facts(*(done("view_item_list", "a", minutes) for minutes in (9, 8)))
    assert len(build_query(seen, SETTINGS, now=NOW).unclicked_impressions.items) == 0
    capping = replace(SETTINGS, counts_impressions=True)
    impressions = build_query(seen, capping, now=NOW).unclicked_impressions
    assert (ids(impressions.items), impressions.times.tolist()) == (["a"], [2])


def test_segments_see_events_profile_context_and_the_moment() -> None:
    rules = [
        {"name": "buyers", "events": [{"event": "purchase", "at_least": 2}]},
        {"name": "fans", "events": [{"event": "custom", "name": "video", "days": 1}]},
        {"name": "trade", "customer_group": ["trade"]},
        {"name": "dutch", "country": ["NL"]},
        {"name": "noon", "hours": [12, 12]},
        {"name": "visitors", "known": False},
    ]
    segmented = replace(SETTINGS, segments=tuple(map(Segment.model_validate, rules)))
    person = facts(
        done("purchase", "a", 60),
        done("purchase", "gone", 50),
        done("custom", "", 40, name="video"),
        profile=Profile(customer_group="trade"),
    )
    query = build_query(person, segmented, now=NOW, context=Context(country="NL"))
    assert query.segments == ("buyers", "fans", "trade", "dutch", "noon")
    stranger = build_query(NO_FACTS, segmented, now=NOW + timedelta(hours=3))
    assert stranger.segments == ("visitors",)


def test_the_account_is_apart_and_none_where_it_is_empty() -> None:
    account = event_rows([done("purchase", "d", 5)], ITEMS)
    with_others = build_query(facts(done("view_item", "a", 9), account=account), SETTINGS, now=NOW)
    assert with_others.account is not None
    assert ids(with_others.account.items) == ["d"]
    assert ids(with_others.history.items) == ["a"]
    assert build_query(facts(done("view_item", "a", 9)), SETTINGS, now=NOW).account is None


@pytest.mark.parametrize("order", ["shop", "segment"])
def test_who_wants_another_order_has_no_history_but_keeps_refusals(order: Any) -> None:
    preferences = Preferences(
        order=order, interests=Interests(brands=["Quay"]), exclusions=Exclusions(items=["b"])
    )
    profile = with_interests(Profile(country="NL"), preferences)
    person = facts(
        done("view_item", "c", 9),
        done("feedback", "a", 8, action="never_again"),
        done("feedback", "", 7, action="never_again", brand="Harbour"),
        preferences=preferences,
        profile=profile,
    )
    trade = Segment.model_validate({"name": "dutch", "country": ["NL"]})
    query = build_query(person, replace(SETTINGS, segments=(trade,)), now=NOW)
    assert len(query.history) == len(query.session) == len(query.disliked) == 0
    assert ids(query.refused) == ["a", "b"]
    assert query.segments == (("dutch",) if order == "segment" else ())
    assert query.profile == (Profile(country="NL") if order == "segment" else UNKNOWN)
    assert query.known is (order == "segment")
    (rule,) = personal_rules_of(person, n=9)
    assert rule.exclude
    assert not rule.boost
    assert not rule.quota


def test_interests_and_refused_brands_are_rules_for_a_list_of_n() -> None:
    person = facts(
        done("feedback", "", 7, action="never_again", brand="Harbour"),
        preferences=Preferences(interests=Interests(brands=["Quay"])),
    )
    (rule,) = personal_rules_of(person, n=9)
    assert rule.exclude
    assert rule.boost
    assert rule.quota[0].at_least == 3
    assert personal_rules_of(person)[0].quota == []
    assert personal_rules_of(NO_FACTS, n=9) == ()


def test_facts_can_be_put_into_another_vocabulary() -> None:
    person = facts(done("view_item", "a", 9), done("view_item", "c", 8), done("view_item", "x", 7))
    other = person.renumbered(np.array([5, -1, 2, 0], np.int32))
    assert other.events.items.tolist() == [5, 2, -1]
    assert other.events.times.tolist() == person.events.times.tolist()
