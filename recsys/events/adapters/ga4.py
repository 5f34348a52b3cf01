"""Google Analytics 4: Measurement Protocol bodies as canonical events.

The canonical names are GA4's own, so that most events keep theirs; `view_search_results` is a
search, `login` and `sign_up` join a visitor to a customer, GA4's own events about visits
(`session_start`, `user_engagement`, …) are ignored, and any other name is a custom event.

Consent is the body's `consent.ad_personalization`, the one switch of Google's consent mode that
is about personalisation: GRANTED is consent, DENIED a refusal, and a body without it states none.
`ad_user_data` says what may be stored for measuring, and becomes the consent to analytics.

GA4 has no event ids. A purchase or refund is known by its `transaction_id`, any other event by
`params.event_id`, else by client, time, name and position in the body; so a body that is sent twice
counts once where it carries `timestamp_micros`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from recsys.events.adapters.canonical import (
    ForeignId,
    Ignored,
    Translated,
    as_id,
    context_of,
    currency_of,
    cut,
    filled,
    made_id,
    moment,
    recommendation_of,
)
from recsys.events.schema import EVENT_KINDS


class GA4Item(msgspec.Struct, frozen=True, kw_only=True):
    """One item of an event's parameters; other fields (name, coupon, …) are ignored."""

    item_id: ForeignId = None
    price: float | None = None
    quantity: float | None = None
    index: int | None = None
    item_list_id: ForeignId = None


class GA4Params(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters that are read; all others are ignored."""

    items: list[GA4Item] | None = None
    transaction_id: ForeignId = None
    currency: str | None = None
    search_term: str | None = None
    session_id: ForeignId = None
    ga_session_id: ForeignId = None
    event_id: ForeignId = None
    recommendation_id: ForeignId = None
    item_list_id: ForeignId = None
    rating: float | None = None
    action: str | None = None
    page_referrer: str | None = None


class GA4Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a body."""

    name: str
    params: GA4Params = GA4Params()
    timestamp_micros: int | None = None


class GA4Consent(msgspec.Struct, frozen=True, kw_only=True):
    """Google's consent mode: GRANTED or DENIED, in any case of letters."""

    ad_personalization: str | None = None
    ad_user_data: str | None = None


class GA4Device(msgspec.Struct, frozen=True, kw_only=True):
    """The device of the event."""

    category: str | None = None


class GA4Location(msgspec.Struct, frozen=True, kw_only=True):
    """The location of the event."""

    country_id: str | None = None


class GA4Body(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a Measurement Protocol body that all its events share."""

    client_id: ForeignId = None
    app_instance_id: ForeignId = None
    user_id: ForeignId = None
    timestamp_micros: int | None = None
    consent: GA4Consent | None = None
    device: GA4Device = GA4Device()
    user_location: GA4Location = GA4Location()


KINDS: Final[Mapping[str, str]] = {
    **{kind: kind for kind in EVENT_KINDS if kind not in ("identify", "custom")},
    "view_search_results": "search",
    "login": "identify",
    "sign_up": "identify",
}
"""GA4's event name → canonical kind; a name that is not here is a custom event."""

ABOUT_VISITS: Final = frozenset(
    {
        "session_start",
        "first_visit",
        "first_open",
        "user_engagement",
        "app_remove",
        "app_update",
        "os_update",
        "app_exception",
        "app_clear_data",
    }
)
"""Events that GA4 itself sends about visits; they are ignored."""


def measurement_event(
    event: GA4Event, body: GA4Body, *, position: int, received_at: datetime
) -> Translated:
    """The event at `position` in a body; InvalidEvent where its time is invalid."""
    if event.name in ABOUT_VISITS:
        return Ignored(f"{event.name} is about the visit, not about items")
    micros = event.timestamp_micros or body.timestamp_micros
    client = as_id(body.client_id) or as_id(body.app_instance_id)
    time = received_at.isoformat() if micros is None else moment(micros)
    return canonical_event(
        event.name,
        event.params,
        made_from=(client, body.user_id, time, event.name, position),
        timestamp=time,
        client=client,
        user=as_id(body.user_id),
        consent=consent_of(body.consent),
        context=context_of(
            device=body.device.category,
            country=body.user_location.country_id,
            referrer=event.params.page_referrer,
        ),
    )


def consent_of(consent: GA4Consent | None) -> dict[str, bool] | None:
    """Consent mode as canonical consent; None where it does not cover personalisation."""
    if consent is None or consent.ad_personalization is None:
        return None
    return {
        "personalization": _granted(consent.ad_personalization),
        "analytics": _granted(consent.ad_user_data),
    }


def canonical_event(
    name: str,
    params: GA4Params,
    *,
    made_from: tuple[object, ...],
    timestamp: str,
    client: str | None,
    user: str | None,
    consent: dict[str, bool] | None,
    context: Mapping[str, Any],
) -> Translated:
    """The canonical event of a GA4 name and parameters, of the Measurement Protocol or the export.

    A session id is unique only with its client: it becomes `<client>.<session>`.
    """
    kind = KINDS.get(name, "custom")
    if kind == "identify" and (client is None or user is None):
        return Ignored(f"{name} joins nobody without client_id and user_id")
    session = as_id(params.session_id) or as_id(params.ga_session_id)
    transaction = as_id(params.transaction_id)
    items = [_item(item) for item in params.items or () if as_id(item.item_id) is not None]
    return filled(
        {
            "event_id": _event_id(kind, params, transaction, made_from),
            "event": kind,
            "name": name if kind == "custom" else None,
            "timestamp": timestamp,
            "user_id": user,
            "anonymous_id": client,
            "session_id": session and (f"{client}.{session}" if client else session),
            "items": items,
            "search_term": cut(params.search_term, 512) if kind == "search" else None,
            "recommendation_id": recommendation_of(params.recommendation_id, _list_id(params)),
            "transaction_id": transaction,
            "currency": currency_of(params.currency),
            "rating": params.rating if kind == "rate" else None,
            "action": params.action if kind == "feedback" else None,
            "consent": consent,
            "context": context,
        }
    )


def _event_id(
    kind: str, params: GA4Params, transaction: str | None, made_from: tuple[object, ...]
) -> str:
    if kind in ("purchase", "refund") and transaction is not None:
        # A refund in parts names the order again, with other items.
        returned = [] if kind == "purchase" else [item.item_id for item in params.items or ()]
        return made_id("ga4", kind, transaction, *returned)
    return as_id(params.event_id) or made_id("ga4", *made_from)


def _item(item: GA4Item) -> dict[str, Any]:
    fields = {"item_id": as_id(item.item_id), "price": item.price, "index": item.index}
    if item.quantity is not None and item.quantity > 0:
        fields["quantity"] = item.quantity
    return {name: value for name, value in fields.items() if value is not None}


def _list_id(params: GA4Params) -> ForeignId:
    if params.item_list_id is not None or not params.items:
        return params.item_list_id
    return params.items[0].item_list_id


def _granted(word: str | None) -> bool:
    return word is not None and word.lower() == "granted"
