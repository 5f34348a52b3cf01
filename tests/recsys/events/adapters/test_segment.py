"""Segment messages become the events that they mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from recsys.errors import InvalidEvent
from recsys.events.adapters import (
    Ignored,
    SegmentConsent,
    SegmentMessage,
    message_event,
    read_lax,
)
from recsys.events.schema import Event, parse_event

NOW = datetime(2026, 11, 21, 20, 15, tzinfo=UTC)
ORDER: dict[str, Any] = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "m-1",
    "userId": 17,
    "anonymousId": "a-9",
    "timestamp": "2026-11-21T20:15:00.000Z",
    "channel": "browser",
    "context": {
        "consent": {"categoryPreferences": {"Advertising": True, "Analytics": False}},
        "device": {"type": "ios"},
        "page": {"referrer": "https://shop.example/"},
        "ip": "198.51.100.7",
        "library": {"name": "analytics.js"},
    },
    "properties": {
        "order_id": "o-55",
        "currency": "EUR",
        "total": "25.00",
        "products": [
            {"product_id": "sku-1", "price": 9.95, "quantity": 2, "position": 1, "name": "Mug"},
            {"sku": "sku-2", "price": "5.10"},
        ],
    },
}


def translated(message: dict[str, Any], **consent: Any) -> Any:
    return message_event(
        read_lax(message, SegmentMessage),
        consent=SegmentConsent(**consent),
        received_at=NOW,
    )


def canonical(message: dict[str, Any], **consent: Any) -> Event:
    return parse_event(translated(message, **consent))


def test_an_order_keeps_its_products_and_whose_it_is() -> None:
    event = canonical(ORDER)
    assert (event.event_id, event.event, event.timestamp) == ("m-1", "purchase", NOW)
    assert (event.user_id, event.anonymous_id) == ("17", "a-9")
    assert [(i.item_id, i.quantity, i.price, i.index) for i in event.items] == [
        ("sku-1", 2, 9.95, 0),
        ("sku-2", 1, 5.1, None),
    ]
    assert (event.transaction_id, event.currency) == ("o-55", "EUR")
    assert event.context is not None
    assert (event.context.channel, event.context.device) == ("web", "ios")
    assert event.consent is not None
    assert (event.consent.personalization, event.consent.analytics) == (True, False)


@pytest.mark.parametrize(
    ("preferences", "agreed"),
    [
        ({}, None),
        ({"Functional": True}, None),
        ({"Personalization": False, "Advertising": True}, False),
        ({"PERSONALIZATION": True, "advertising": False}, True),
        ({"Advertising": False}, False),
    ],
)
def test_the_first_category_that_was_chosen_decides(
    preferences: dict[str, bool], agreed: bool | None
) -> None:
    context = {"consent": {"categoryPreferences": preferences}}
    event = canonical({**ORDER, "context": context})
    assert (event.consent and event.consent.personalization) == agreed


def test_a_shop_names_its_own_categories() -> None:
    context = {"consent": {"categoryPreferences": {"C0003": True}}}
    assert canonical({**ORDER, "context": context}, personalization=["C0003"]).personalization


@pytest.mark.parametrize(
    ("name", "properties", "kind"),
    [
        ("Product Viewed", {"product_id": "a", "price": 3}, "view_item"),
        ("Product Added", {"sku": "a", "quantity": 1}, "add_to_cart"),
        ("Product List Viewed", {"products": [{"product_id": "a"}]}, "view_item_list"),
        ("Products Searched", {"query": "tea"}, "search"),
        ("Product Reviewed", {"product_id": "a", "rating": 4}, "rate"),
        ("Video Watched", {"title": "x"}, "custom"),
        ("Viewed Product", {"id": "mongo", "sku": "a"}, "view_item"),
    ],
)
def test_every_name_has_a_kind(name: str, properties: dict[str, Any], kind: str) -> None:
    event = canonical({**ORDER, "event": name, "properties": properties})
    assert event.event == kind
    assert event.name == (name if kind == "custom" else None)


def test_identify_and_alias_join_and_take_no_trait() -> None:
    identify = {**ORDER, "type": "identify", "traits": {"email": "x@example.com"}}
    assert canonical(identify).event == "identify"
    alias = {"type": "alias", "previousId": "a-1", "userId": "u", "messageId": "m"}
    assert canonical(alias).anonymous_id == "a-1"
    assert isinstance(translated({**identify, "anonymousId": None}), Ignored)
    assert isinstance(translated({"type": "group", "groupId": "acme"}), Ignored)


def test_pages_are_custom_events_of_that_name() -> None:
    page = {"type": "page", "name": "Home", "anonymousId": "a", "properties": {"title": "Home"}}
    assert canonical(page).name == "page"


def test_a_message_without_an_id_is_known_by_its_content() -> None:
    bare = {key: value for key, value in ORDER.items() if key != "messageId"}
    other = {**bare, "userId": 18}
    ids = [translated(message)["event_id"] for message in (bare, bare, other)]
    assert ids[0] == ids[1] != ids[2]


def test_what_is_sloppy_and_clear_is_taken() -> None:
    properties = {"product_id": "a", "price": "", "quantity": "0", "position": "0"}
    page = {"referrer": "https://shop.example/?" + "q" * 900}
    sloppy = {"properties": {**properties, "currency": "eur"}, "context": {"page": page}}
    event = canonical({**ORDER, **sloppy, "event": "PRODUCT VIEWED", "channel": ""})
    assert (event.items[0].price, event.items[0].quantity, event.currency) == (None, 1, "EUR")
    assert event.context is not None
    assert len(event.context.referrer or "") == 512


def test_what_is_not_clear_is_refused_with_the_field() -> None:
    with pytest.raises(InvalidEvent, match=r"properties\.price"):
        translated({**ORDER, "properties": {"product_id": "a", "price": "cheap"}})
