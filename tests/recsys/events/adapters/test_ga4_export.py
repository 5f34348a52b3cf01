"""Rows of GA4's BigQuery export become the events that they mean."""

from __future__ import annotations

from typing import Any

import msgspec

from recsys.events.adapters import GA4Row, Ignored, row_event
from recsys.events.schema import Event, parse_event

ROW: dict[str, Any] = {
    "event_date": "20260103",
    "event_timestamp": "1767441600123456",
    "event_name": "purchase",
    "event_params": [
        {"key": "ga_session_id", "value": {"int_value": "1767441000"}},
        {"key": "currency", "value": {"string_value": "EUR"}},
        {"key": "cookie_choice", "value": {"string_value": "all"}},
    ],
    "user_pseudo_id": "1234.5678",
    "user_id": "u-1",
    "privacy_info": {"analytics_storage": "Yes", "ads_storage": "Unset"},
    "device": {"category": "mobile", "operating_system": "Android"},
    "geo": {"country": "Netherlands", "city": "(not set)"},
    "platform": "WEB",
    "ecommerce": {"transaction_id": "T9", "purchase_revenue": 9.95},
    "items": [
        {"item_id": "sku-1", "price": 9.95, "quantity": "1", "item_list_index": "(not set)"},
        {"item_id": "(not set)", "item_name": "gift wrap"},
    ],
}


def row(**fields: Any) -> GA4Row:
    return msgspec.convert({**ROW, **fields}, GA4Row, strict=False)


def canonical(row: GA4Row, **options: Any) -> Event:
    translated = row_event(row, **options)
    assert not isinstance(translated, Ignored)
    return parse_event(translated)


def test_a_row_with_numbers_in_quotes_is_read_whole() -> None:
    event = canonical(row())
    assert event.timestamp.isoformat() == "2026-01-03T12:00:00.123456+00:00"
    assert (event.user_id, event.anonymous_id) == ("u-1", "1234.5678")
    assert event.session_id == "1234.5678.1767441000"
    assert [item.item_id for item in event.items] == ["sku-1"]
    assert (event.transaction_id, event.currency) == ("T9", "EUR")
    assert event.context is not None
    assert (event.context.device, event.context.country, event.context.channel) == (
        "mobile",
        "Netherlands",
        "web",
    )
    assert event.consent is None


def test_the_sites_own_record_of_consent_decides_where_it_is_named() -> None:
    agreed = canonical(row(), consent_key="cookie_choice", granted=["all"])
    refused = canonical(row(), consent_key="cookie_choice", granted=["everything"])
    silent = canonical(row(), consent_key="banner", granted=["all"])
    assert agreed.personalization
    assert refused.consent is not None
    assert not refused.personalization
    assert silent.consent is None


def test_a_row_without_analytics_storage_is_nobodys() -> None:
    event = canonical(
        row(privacy_info={"analytics_storage": "No"}), consent_key="cookie_choice", granted=["all"]
    )
    assert (event.person.key, event.consent, event.session_id) == (None, None, "1767441000")


def test_rows_are_told_apart_by_their_place_in_the_batch() -> None:
    view = {"event_name": "page_view", "ecommerce": None}
    ids = {canonical(row(**view, batch_event_index=n)).event_id for n in (1, 2, 2)}
    assert len(ids) == 2


def test_names_to_ignore_are_left_out() -> None:
    assert isinstance(row_event(row(event_name="scroll"), ignore=["scroll"]), Ignored)
    assert isinstance(row_event(row(event_name="user_engagement")), Ignored)
