"""`parse_event`: the one door for events."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recsys.errors import InvalidEvent
from recsys.events.schema import (
    EVENT_KINDS,
    NEEDS_ITEMS,
    Consent,
    EventItem,
    Person,
    Tolerance,
    anonymised,
    parse_event,
)

NOW = datetime(2026, 11, 21, 20, 15, tzinfo=UTC)

GOOD: dict[str, Any] = {
    "event_id": "c0ffee-1",
    "event": "purchase",
    "timestamp": "2026-11-21T20:15:00Z",
    "user_id": "u-17",
    "anonymous_id": "a-9",
    "session_id": "s-3",
    "items": [{"item_id": "sku-1", "quantity": 2, "price": 9.95, "index": 0}],
    "search_term": None,
    "recommendation_id": "r-1",
    "transaction_id": "o-55",
    "currency": "EUR",
    "account_id": None,
    "consent": {"personalization": True, "analytics": True},
    "context": {"channel": "web", "device": "mobile", "country": "NL", "referrer": "mail"},
}
ITEM = {"item_id": "sku-1"}
MISSING = object()

BAD = [
    ({"event_id": MISSING}, "event_id", "required"),
    ({"event_id": ""}, "event_id", "length >= 1"),
    ({"event_id": "x" * 129}, "event_id", "length <= 128"),
    ({"event_id": "a\x00b"}, "event_id", "without NUL"),
    ({"event_id": "a\n"}, "event_id", "control characters"),
    ({"event_id": 7}, "event_id", "expected str"),
    ({"event": "buy"}, "event", "purchase"),
    ({"event": None}, "event", "expected str"),
    ({"timestamp": "yesterday"}, "timestamp", "RFC 3339"),
    ({"timestamp": "2026-11-21T20:15:00"}, "timestamp", "with a zone"),
    ({"timestamp": 1763755000}, "timestamp", "RFC 3339"),
    ({"timestamp": "2026-11-21T20:26:00Z"}, "timestamp", "send the true time"),
    ({"timestamp": "2026-10-01T20:15:00Z"}, "timestamp", "recsys import"),
    ({"timestamp": "1969-12-31T00:00:00Z"}, "timestamp", "from 1970"),
    ({"timestamp": "9999-12-31T00:00:00Z"}, "timestamp", "to 9000"),
    ({"user_id": "a\tb"}, "user_id", "control characters"),
    ({"items": "sku-1"}, "items", "expected array"),
    ({"items": []}, "items", "names at least one item"),
    ({"items": [ITEM] * 1001}, "items", "length <= 1000"),
    ({"items": [{**ITEM, "price": -1}]}, "items[0].price", ">= 0"),
    ({"items": [{**ITEM, "price": 1e10}]}, "items[0].price", "<= 1000000000"),
    ({"items": [{**ITEM, "price": "9,95"}]}, "items[0].price", "expected float"),
    ({"items": [ITEM, {**ITEM, "quantity": 0}]}, "items[1].quantity", "> 0"),
    ({"items": [{**ITEM, "index": -1}]}, "items[0].index", ">= 0"),
    ({"items": [{"price": 1}]}, "items[0].item_id", "required"),
    ({"items": [{**ITEM, "colour": "red"}]}, "items[0].colour", "leave it out"),
    ({"items": [ITEM, {"item_id": "b\x00"}]}, "items[1].item_id", "without NUL"),
    ({"currency": "eur"}, "currency", "EUR"),
    ({"consent": {"personalization": "yes"}}, "consent.personalization", "expected bool"),
    ({"consent": {"marketing": True}}, "consent.marketing", "leave it out"),
    ({"context": {"hour": 24}}, "context.hour", "<= 23"),
    ({"context": {"values": {"": 1}}}, "context.values", "length >= 1"),
    ({"search_term": "a\x00"}, "search_term", "without NUL"),
    ({"colour": "red"}, "colour", "leave it out"),
    ({"event": "identify", "user_id": None}, "user_id", "send both"),
    ({"event": "identify", "anonymous_id": None}, "anonymous_id", "send both"),
    ({"event": "search"}, "search_term", "what was sought"),
    ({"event": "rate"}, "rating", "0 to 100"),
    ({"event": "rate", "rating": 101}, "rating", "<= 100"),
    ({"event": "feedback"}, "action", "not_interested"),
    ({"event": "feedback", "action": "love"}, "action", "not_interested"),
    ({"event": "custom"}, "name", "given by the shop"),
]


def changed(change: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**GOOD, **change}.items() if value is not MISSING}


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "mapping"])
@pytest.mark.parametrize(
    ("change", "field", "remedy"), BAD, ids=[f"{field}: {remedy}" for _, field, remedy in BAD]
)
def test_a_bad_event_is_refused_with_its_field_and_a_remedy(
    change: dict[str, Any], field: str, remedy: str, as_json: bool
) -> None:
    raw = changed(change)
    with pytest.raises(InvalidEvent) as refused:
        parse_event(json.dumps(raw).encode() if as_json else raw, now=NOW)
    assert refused.value.field == field
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"7", b"null", b"\xff", b'{"event_id":"\xff"}', b'"\\ud800"']
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse_event(raw)
    assert refused.value.field == "event"


def test_text_that_cannot_be_written_as_utf_8_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="UTF-8"):
        parse_event(changed({"event_id": "\ud800"}))


def test_the_refused_value_is_told_and_cut_short() -> None:
    with pytest.raises(InvalidEvent) as refused:
        parse_event(changed({"user_id": "x" * 1000}))
    assert refused.value.value == "x" * 1000
    assert len(str(refused.value)) < 200


def test_the_documented_event_is_read_as_it_stands() -> None:
    event = parse_event(json.dumps(GOOD).encode(), now=NOW)
    assert event.timestamp == NOW
    assert event.items == [EventItem(item_id="sku-1", quantity=2, price=9.95, index=0)]
    assert event.person == Person("u-17", "a-9")
    assert event == parse_event(GOOD)


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_every_kind_can_be_sent(kind: str) -> None:
    extra = {"search_term": "mug", "rating": 4, "action": "like", "name": "video"}
    assert parse_event(changed({"event": kind, **extra})).event == kind
    if kind in NEEDS_ITEMS:
        with pytest.raises(InvalidEvent, match="items"):
            parse_event(changed({"event": kind, "items": [], **extra}))
    else:
        parse_event(changed({"event": kind, "items": [], **extra}))


def test_imported_history_may_be_of_any_age() -> None:
    assert parse_event(changed({"timestamp": "2009-12-01T07:45:00Z"})).timestamp.year == 2009


def test_the_tolerance_is_that_of_the_call() -> None:
    late = changed({"timestamp": "2026-11-01T20:15:00Z"})
    parse_event(late, now=NOW)
    with pytest.raises(InvalidEvent, match="2 days old"):
        parse_event(late, now=NOW, tolerance=Tolerance(past=timedelta(days=2)))


def test_times_of_other_zones_are_the_same_moment() -> None:
    event = parse_event(changed({"timestamp": "2026-11-21T22:15:00+02:00"}), now=NOW)
    assert event.timestamp == NOW


@pytest.mark.parametrize(
    ("consent", "may"),
    [
        (None, False),
        ({}, False),
        ({"analytics": True}, False),
        ({"personalization": False}, False),
        ({"personalization": True}, True),
    ],
)
def test_absent_consent_is_no_consent(consent: dict[str, bool] | None, may: bool) -> None:
    assert parse_event(changed({"consent": consent})).personalization is may


def test_an_anonymised_event_keeps_what_was_done_and_nothing_of_who_did_it() -> None:
    event = parse_event(changed({"search_term": "mug", "account_id": "acme"}))
    left = anonymised(event)
    assert (left.event, left.items, left.timestamp) == (event.event, event.items, event.timestamp)
    assert left.consent == Consent(personalization=True, analytics=True)
    assert left.person.key is None
    assert {
        left.session_id,
        left.account_id,
        left.search_term,
        left.recommendation_id,
        left.transaction_id,
        left.context,
    } == {None}


def test_a_customer_is_known_by_user_id_before_the_visitor() -> None:
    assert Person("u", "a").key == "u:u"
    assert Person(None, "a").key == "a:a"
    assert Person().key is None
