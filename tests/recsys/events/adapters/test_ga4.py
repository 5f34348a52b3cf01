"""Measurement Protocol bodies become the events that they mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from recsys.errors import InvalidEvent
from recsys.events.adapters import GA4Body, GA4Event, Ignored, measurement_event
from recsys.events.schema import Event, parse_event

NOW = datetime(2026, 11, 21, 20, 15, tzinfo=UTC)
MICROS = int(NOW.timestamp() * 1e6)
GRANTED = {"ad_user_data": "GRANTED", "ad_personalization": "GRANTED"}


def translated(event: dict[str, Any], *, position: int = 0, **body: Any) -> Any:
    return measurement_event(
        msgspec.convert(event, GA4Event, strict=False),
        msgspec.convert({"client_id": "c.1", **body}, GA4Body, strict=False),
        position=position,
        received_at=NOW,
    )


def canonical(event: dict[str, Any], **body: Any) -> Event:
    return parse_event(translated(event, **body))


PURCHASE = {
    "name": "purchase",
    "params": {
        "transaction_id": "T1",
        "currency": "EUR",
        "value": 29.9,
        "session_id": 1700000000,
        "items": [
            {"item_id": "sku-1", "item_name": "Mug", "price": 9.95, "quantity": 2, "index": 0},
            {"item_id": 17, "price": "10.00"},
        ],
    },
}


def test_a_purchase_keeps_its_items_prices_and_order() -> None:
    event = canonical(PURCHASE, user_id="u-17", timestamp_micros=MICROS, consent=GRANTED)
    assert (event.event, event.user_id, event.anonymous_id) == ("purchase", "u-17", "c.1")
    assert event.timestamp == NOW
    assert [(i.item_id, i.quantity, i.price) for i in event.items] == [
        ("sku-1", 2, 9.95),
        ("17", 1, 10.0),
    ]
    assert (event.transaction_id, event.currency) == ("T1", "EUR")
    assert event.session_id == "c.1.1700000000"


@pytest.mark.parametrize(
    ("consent", "personalization"),
    [
        (None, None),
        ({}, None),
        ({"ad_user_data": "GRANTED"}, None),
        ({"ad_personalization": "GRANTED"}, True),
        ({"ad_personalization": "granted"}, True),
        ({"ad_personalization": "DENIED", "ad_user_data": "GRANTED"}, False),
        ({"ad_personalization": "UNSPECIFIED"}, False),
    ],
)
def test_consent_is_ad_personalization_and_absent_says_nothing(
    consent: dict[str, str] | None, personalization: bool | None
) -> None:
    body = {} if consent is None else {"consent": consent}
    event = canonical({"name": "view_item", "params": {"items": [{"item_id": "a"}]}}, **body)
    assert (event.consent and event.consent.personalization) == personalization
    assert event.personalization is bool(personalization)


@pytest.mark.parametrize(
    ("name", "params", "kind"),
    [
        ("view_item", {"items": [{"item_id": "a"}]}, "view_item"),
        ("view_search_results", {"search_term": "tea"}, "search"),
        ("search", {"search_term": "tea"}, "search"),
        ("login", {"method": "x"}, "identify"),
        ("video_watched", {"video": "x"}, "custom"),
        ("page_view", {}, "custom"),
        ("begin_checkout", {"items": []}, "begin_checkout"),
    ],
)
def test_every_name_has_a_kind(name: str, params: dict[str, Any], kind: str) -> None:
    event = canonical({"name": name, "params": params}, user_id="u")
    assert event.event == kind
    assert event.name == (name if kind == "custom" else None)


def test_what_ga4_says_of_visits_is_ignored_and_a_login_of_nobody_too() -> None:
    assert isinstance(translated({"name": "session_start"}), Ignored)
    assert isinstance(translated({"name": "login"}), Ignored)


def test_a_repeated_body_has_the_same_ids_and_each_of_its_events_its_own() -> None:
    event = {"name": "view_item", "params": {"items": [{"item_id": "a"}]}}
    first = [translated(event, position=n, timestamp_micros=MICROS)["event_id"] for n in range(2)]
    again = [translated(event, position=n, timestamp_micros=MICROS)["event_id"] for n in range(2)]
    other = translated(event, timestamp_micros=MICROS, client_id="c.2")["event_id"]
    assert first == again
    assert len({*first, other}) == 3


def test_a_purchase_is_known_by_its_transaction_wherever_it_was_sent() -> None:
    later = translated(PURCHASE, timestamp_micros=MICROS + 5, client_id="server")
    assert later["event_id"] == translated(PURCHASE, position=3)["event_id"]
    refund = {**PURCHASE, "name": "refund"}
    assert translated(refund)["event_id"] != later["event_id"]


def test_an_answers_id_in_the_list_id_is_the_recommendation() -> None:
    given = "r-" + "0f" * 12
    params: dict[str, Any] = {"items": [{"item_id": "a", "item_list_id": given}]}
    assert canonical({"name": "select_item", "params": params}).recommendation_id == given
    params = {"items": [{"item_id": "a"}], "item_list_id": "related"}
    assert canonical({"name": "select_item", "params": params}).recommendation_id is None


def test_the_time_of_an_event_goes_before_that_of_its_body() -> None:
    event = {"name": "page_view", "timestamp_micros": MICROS}
    assert canonical(event, timestamp_micros=5).timestamp == NOW
    with pytest.raises(InvalidEvent, match="timestamp_micros"):
        translated({"name": "page_view", "timestamp_micros": 10**19 // 2})


def test_an_event_of_items_without_items_is_refused_at_the_door() -> None:
    with pytest.raises(InvalidEvent, match="items"):
        canonical({"name": "add_to_cart", "params": {"items": [{"item_name": "no id"}]}})
