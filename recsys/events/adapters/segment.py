"""Segment: messages of its e-commerce spec (v2, and the names of v1) as canonical events.

`track` messages become what their name means, any other name a custom event; `identify` and
`alias` join a visitor to a customer; `page` and `screen` are custom events of these names;
`group` is ignored. Traits of `identify` are ignored: they are names and addresses as a rule, and
traits that should steer recommendations are declared with PUT /v1/profiles.

Consent is `context.consent.categoryPreferences`, whose categories a shop names itself: the first
of `SegmentConsent.personalization` that a message has decides; one without any states no consent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    recommendation_of,
)


class SegmentProduct(msgspec.Struct, frozen=True, kw_only=True):
    """One product; other fields (name, image, …) are ignored."""

    product_id: ForeignId = None
    sku: ForeignId = None
    price: float | None = None
    quantity: float | None = None
    position: int | None = None


class SegmentProperties(SegmentProduct, frozen=True, kw_only=True):
    """The properties of an event: of one product directly, or of several in `products`."""

    products: list[SegmentProduct] | None = None
    order_id: ForeignId = None
    currency: str | None = None
    query: str | None = None
    rating: float | None = None
    recommendation_id: ForeignId = None
    list_id: ForeignId = None
    session_id: ForeignId = None


class SegmentConsentGiven(msgspec.Struct, frozen=True, rename="camel"):
    """The categories that the shop's banner has, and what the person chose."""

    category_preferences: dict[str, bool] = {}


class SegmentDevice(msgspec.Struct, frozen=True):
    """The device of the event."""

    type: str | None = None


class SegmentLocation(msgspec.Struct, frozen=True):
    """The location of the event."""

    country: str | None = None


class SegmentPage(msgspec.Struct, frozen=True):
    """The page."""

    referrer: str | None = None


class SegmentContext(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The parts of a message's context that are read; all others are ignored."""

    consent: SegmentConsentGiven | None = None
    device: SegmentDevice | None = None
    location: SegmentLocation | None = None
    page: SegmentPage | None = None
    group_id: ForeignId = None
    session_id: ForeignId = None


class SegmentMessage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One message, alone or of a batch."""

    type: str = "track"
    event: str | None = None
    name: str | None = None
    message_id: ForeignId = None
    user_id: ForeignId = None
    anonymous_id: ForeignId = None
    previous_id: ForeignId = None
    timestamp: str | None = None
    original_timestamp: str | None = None
    sent_at: str | None = None
    channel: str | None = None
    properties: SegmentProperties | None = None
    context: SegmentContext | None = None


@dataclass(frozen=True, slots=True)
class SegmentConsent:
    """The categories of the shop's banner that decide, the first one that a message has."""

    personalization: Sequence[str] = ("Personalization", "Advertising")
    analytics: Sequence[str] = ("Analytics",)


KINDS: Final[Mapping[str, str]] = {
    "products searched": "search",
    "product list viewed": "view_item_list",
    "product list filtered": "view_item_list",
    "product clicked": "select_item",
    "product viewed": "view_item",
    "product added": "add_to_cart",
    "product removed": "remove_from_cart",
    "cart viewed": "view_cart",
    "checkout started": "begin_checkout",
    "order completed": "purchase",
    "order refunded": "refund",
    "order cancelled": "refund",
    "product added to wishlist": "add_to_wishlist",
    "wishlist product added to cart": "add_to_cart",
    "product reviewed": "rate",
    "viewed product": "view_item",
    "added product": "add_to_cart",
    "removed product": "remove_from_cart",
    "completed order": "purchase",
}
"""Event name in small letters → canonical kind; a name that is not here is a custom event."""

_CHANNELS: Final[Mapping[str, str]] = {"browser": "web", "client": "web", "mobile": "app"}


def message_event(
    message: SegmentMessage, *, consent: SegmentConsent, received_at: datetime
) -> Translated:
    """The message as a canonical event."""
    properties = message.properties or SegmentProperties()
    match message.type:
        case "track":
            name = message.event or "track"
            kind = KINDS.get(name.lower(), "custom")
        case "page" | "screen":
            kind, name = "custom", message.type
        case "identify" | "alias":
            kind, name = "identify", message.type
        case _:
            return Ignored(f"{message.type} messages tell nothing that an answer could use")
    visitor = as_id(message.previous_id if message.type == "alias" else message.anonymous_id)
    customer = as_id(message.user_id)
    if kind == "identify" and (visitor is None or customer is None):
        return Ignored(f"{message.type} joins nobody without a visitor's and a user's id")
    context = message.context or SegmentContext()
    timestamp = message.timestamp or message.original_timestamp or message.sent_at
    return filled(
        {
            "event_id": as_id(message.message_id) or _made_id(message, visitor, kind, timestamp),
            "event": kind,
            "name": name if kind == "custom" else None,
            "timestamp": timestamp or received_at.isoformat(),
            "user_id": customer,
            "anonymous_id": visitor,
            "session_id": as_id(properties.session_id) or as_id(context.session_id),
            "account_id": as_id(context.group_id),
            "items": _items(properties),
            "search_term": cut(properties.query, 512) if kind == "search" else None,
            "recommendation_id": recommendation_of(
                properties.recommendation_id, properties.list_id
            ),
            "transaction_id": as_id(properties.order_id),
            "currency": currency_of(properties.currency),
            "rating": properties.rating if kind == "rate" else None,
            "consent": _consent(context, consent),
            "context": context_of(
                channel=_CHANNELS.get(message.channel or "", message.channel),
                device=context.device.type if context.device else None,
                country=context.location.country if context.location else None,
                referrer=context.page.referrer if context.page else None,
            ),
        }
    )


def _items(properties: SegmentProperties) -> list[dict[str, Any]]:
    products = properties.products if properties.products is not None else [properties]
    return [_item(product) for product in products if _product_id(product) is not None]


def _item(product: SegmentProduct) -> dict[str, Any]:
    fields = {"item_id": _product_id(product), "price": product.price}
    if product.quantity is not None and product.quantity > 0:
        fields["quantity"] = product.quantity
    if product.position is not None and product.position >= 0:
        fields["index"] = max(product.position - 1, 0)  # Segment counts from 1
    return {name: value for name, value in fields.items() if value is not None}


def _product_id(product: SegmentProduct) -> str | None:
    return as_id(product.product_id) or as_id(product.sku)


def _consent(context: SegmentContext, rule: SegmentConsent) -> dict[str, bool] | None:
    if context.consent is None:
        return None
    chosen = {name.lower(): agreed for name, agreed in context.consent.category_preferences.items()}
    decisions = [chosen[name.lower()] for name in rule.personalization if name.lower() in chosen]
    if not decisions:
        return None
    return {
        "personalization": decisions[0],
        "analytics": any(chosen.get(name.lower(), False) for name in rule.analytics),
    }


def _made_id(message: SegmentMessage, visitor: str | None, kind: str, timestamp: str | None) -> str:
    return made_id(
        "segment", message.user_id, visitor, timestamp, kind, msgspec.json.encode(message)
    )
