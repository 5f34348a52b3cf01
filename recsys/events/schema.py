"""Events: what a shop reports that a visitor did, in the canonical form (GA4 e-commerce names).

`parse_event` is the one door: everything behind it may rely on the rules stated here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

import msgspec

from recsys.errors import InvalidEvent, InvalidInput
from recsys.ids import user_key, visitor_key

EventKind = Literal[
    "view_item",
    "view_item_list",
    "select_item",
    "add_to_cart",
    "remove_from_cart",
    "add_to_wishlist",
    "view_cart",
    "begin_checkout",
    "purchase",
    "refund",
    "search",
    "rate",
    "feedback",
    "identify",
    "custom",
]
FeedbackAction = Literal["like", "not_interested", "never_again", "wrong", "snooze", "undo"]

EVENT_KINDS: Final[tuple[EventKind, ...]] = get_args(EventKind)
KIND_NUMBER: Final[Mapping[str, int]] = {kind: n for n, kind in enumerate(EVENT_KINDS)}
"""Event kind → its int8 code in arrays."""
PURCHASE: Final = KIND_NUMBER["purchase"]

# `$` alone would let a line feed at the end pass.
NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f]+$(?!\n)"
THREE_CAPITALS = r"^[A-Z]{3}$(?!\n)"
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=NO_CONTROL_CHARACTERS)]
"""An external id: 1–128 characters, no control characters (a NUL byte breaks PostgreSQL)."""
Text = Annotated[str, msgspec.Meta(max_length=512, pattern=r"^[^\x00]*$")]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=NO_CONTROL_CHARACTERS)]
Price = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
"""A price of one unit in the event's currency, 0 to 1e9."""
Quantity = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
Country = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=NO_CONTROL_CHARACTERS)]
Currency = Annotated[str, msgspec.Meta(pattern=THREE_CAPITALS)]
Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
Struct = TypeVar("Struct", bound=msgspec.Struct)
CategoryPath = Annotated[list[Word], msgspec.Meta(min_length=1, max_length=10)]
"""A category from the widest to the narrowest name; it stands for everything below it."""
CATEGORY_SEPARATOR: Final = " > "
"""Between the names of a category path that is written as one text."""
Days = Annotated[float, msgspec.Meta(gt=0, le=3650)]


class EventItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One item of an event; `index` is its position in the list that was shown, from 0."""

    item_id: Id
    quantity: Quantity = 1.0
    price: Price | None = None
    index: Annotated[int, msgspec.Meta(ge=0, le=100_000)] | None = None


class Consent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the person agreed to; absent means no."""

    personalization: bool = False
    analytics: bool = False


class EventContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the event happened; `values` holds what else the shop knows, such as weather."""

    channel: Word | None = None
    device: Word | None = None
    country: Country | None = None
    hour: Annotated[int, msgspec.Meta(ge=0, le=23)] | None = None
    referrer: Text | None = None
    values: dict[Word, Text | float | bool] | None = None


class Event(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """One canonical event. Idempotent by `event_id`; times are UTC with a zone.

    `brand` and `category` are what `feedback` is about, beside its items; `days` is how long a
    `snooze` lasts.
    """

    event_id: Id
    event: EventKind
    timestamp: Timestamp
    user_id: Id | None = None
    anonymous_id: Id | None = None
    session_id: Id | None = None
    account_id: Id | None = None
    items: Annotated[list[EventItem], msgspec.Meta(max_length=1000)] = []
    search_term: Text | None = None
    recommendation_id: Id | None = None
    transaction_id: Id | None = None
    currency: Currency | None = None
    rating: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    action: FeedbackAction | None = None
    name: Word | None = None
    brand: Word | None = None
    category: CategoryPath | None = None
    days: Days | None = None
    consent: Consent | None = None
    context: EventContext | None = None

    @property
    def person(self) -> Person:
        """Who did it, as far as the event says."""
        return Person(self.user_id, self.anonymous_id)

    @property
    def personalization(self) -> bool:
        """Whether this event may be tied to a person: consent absent or denied means no."""
        return self.consent is not None and self.consent.personalization


@dataclass(frozen=True, slots=True)
class Person:
    """A customer (`user_id`), a visitor (`anonymous_id`), or both where a visitor has logged in."""

    user_id: str | None = None
    anonymous_id: str | None = None

    @property
    def key(self) -> str | None:
        """The key under which the history is kept: `u:<user_id>`, else `a:<anonymous_id>`."""
        if self.user_id is not None:
            return user_key(self.user_id)
        if self.anonymous_id is not None:
            return visitor_key(self.anonymous_id)
        return None


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an event's timestamp may be from the moment it is received."""

    past: timedelta = timedelta(days=30)
    future: timedelta = timedelta(minutes=10)


NEEDS_ITEMS: Final = frozenset(
    {
        "view_item",
        "view_item_list",
        "select_item",
        "add_to_cart",
        "remove_from_cart",
        "add_to_wishlist",
        "purchase",
        "refund",
        "rate",
    }
)


def parse_event(
    raw: bytes | msgspec.Raw | Mapping[str, Any],
    *,
    now: datetime | None = None,
    tolerance: Tolerance | None = None,
) -> Event:
    """The event in `raw` (JSON text or a mapping); InvalidEvent names field, value and remedy.

    With `now`, the timestamp must lie within `tolerance` of it; imported history is not so bound.
    """
    event = parse_struct(raw, _decoder, whole="event", refusal=InvalidEvent)
    _check_rules(event)
    if now is not None:
        _check_timestamp(event.timestamp, now, tolerance or Tolerance())
    return event


def anonymised(event: Event) -> Event:
    """The event with nothing left in it that is tied to a person."""
    return msgspec.structs.replace(
        event,
        user_id=None,
        anonymous_id=None,
        session_id=None,
        account_id=None,
        search_term=None,
        recommendation_id=None,
        transaction_id=None,
        context=None,
    )


CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "event": EVENT_KINDS,
    "action": get_args(FeedbackAction),
}
"""Field → the words that it may be."""


def parse_struct(
    raw: bytes | msgspec.Raw | Mapping[str, Any],
    decoder: msgspec.json.Decoder[Struct],
    *,
    whole: str,
    choices: Mapping[str, Sequence[str]] = CHOICES,
    refusal: type[InvalidInput] = InvalidInput,
) -> Struct:
    """The decoder's struct in `raw` (JSON text or a mapping); `refusal` names field, value and
    remedy, and `whole` where `raw` cannot be read at all.

    `choices`: field → the words that it may be.
    """
    try:
        if isinstance(raw, Mapping):
            parsed = msgspec.convert(raw, decoder.type)
            # A lone surrogate passes in a mapping and could not be written.
            _encoder.encode(parsed)
        else:
            parsed = decoder.decode(raw)
    except msgspec.ValidationError as error:
        invalid = invalid_event(str(error), raw, choices=choices)
        raise refusal(invalid.field, invalid.value, invalid.remedy) from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise refusal(whole, str(error), "send one JSON object in UTF-8") from error
    return parsed


def invalid_event(
    message: str, raw: object, *, choices: Mapping[str, Sequence[str]] = CHOICES
) -> InvalidEvent:
    """msgspec's message (``Expected `str`, got `int` - at `$.user_id` ``) as InvalidEvent.

    `choices`: field → the words that it may be.
    """
    expected, _, location = message.partition(" - at ")
    path = location.strip("`").removeprefix("key` in `")
    unknown = re.search(r"unknown field `([^`]*)`", expected)
    missing = re.search(r"missing required field `([^`]*)`", expected)
    name = unknown or missing
    field = ".".join(
        part for part in (path.removeprefix("$").lstrip("."), name and name[1]) if part
    )
    if missing:
        return InvalidEvent(field, None, "this field is required")
    if unknown:
        return InvalidEvent(
            field,
            _value_at(raw, f"{path}.{name[1] if name else ''}"),
            "there is no such field; leave it out",
        )
    return InvalidEvent(
        field or "event", _value_at(raw, path), _remedy(expected, choices.get(field))
    )


_decoder: Final = msgspec.json.Decoder(Event)
_encoder: Final = msgspec.json.Encoder()

_REMEDIES: Final = (
    (NO_CONTROL_CHARACTERS, "send text without NUL or other control characters"),
    (r"^[^\\x00]*$", "send text without NUL characters"),
    (r"[^\\x00", "send text without NUL or other control characters"),
    (THREE_CAPITALS, "send a currency of three capital letters, such as EUR"),
)


def _remedy(expected: str, choices: Sequence[str] | None) -> str:
    for pattern, remedy in _REMEDIES:
        if pattern in expected or pattern.replace("\\", "\\\\") in expected:
            return remedy
    if "Invalid enum value" in expected:
        return "use one of " + (", ".join(choices) if choices else "the documented values")
    if "Invalid RFC3339" in expected or "timezone" in expected or "datetime" in expected:
        return "send an RFC 3339 time with a zone, such as 2026-11-21T20:15:00Z"
    return expected[:1].lower() + expected[1:].replace("`", "")


def _value_at(raw: object, path: str) -> object:
    try:
        value: Any = raw if isinstance(raw, Mapping) else msgspec.json.decode(raw)  # type: ignore[call-overload]
        for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path):
            value = value[name] if name else value[int(index)]
    except (KeyError, IndexError, TypeError, msgspec.DecodeError):
        return None
    return value


def _check_rules(event: Event) -> None:
    kind = event.event
    if kind in NEEDS_ITEMS and not event.items:
        raise InvalidEvent("items", [], f"a {kind} event names at least one item")
    if kind == "identify" and (event.user_id is None or event.anonymous_id is None):
        missing = "user_id" if event.user_id is None else "anonymous_id"
        raise InvalidEvent(missing, None, "identify joins an anonymous_id to a user_id: send both")
    if kind == "search" and not event.search_term:
        raise InvalidEvent("search_term", event.search_term, "a search event says what was sought")
    if kind == "rate" and event.rating is None:
        raise InvalidEvent("rating", None, "a rate event has a rating from 0 to 100")
    if kind == "feedback" and event.action is None:
        raise InvalidEvent("action", None, "use one of " + ", ".join(get_args(FeedbackAction)))
    if kind == "custom" and event.name is None:
        raise InvalidEvent("name", None, "a custom event has a name given by the shop")
    if not 1970 <= event.timestamp.year <= 9000:
        raise InvalidEvent(
            "timestamp", event.timestamp.isoformat(), "send a time from 1970 to 9000"
        )


def _check_timestamp(timestamp: datetime, now: datetime, tolerance: Tolerance) -> None:
    if timestamp > now + tolerance.future:
        raise InvalidEvent(
            "timestamp",
            timestamp.isoformat(),
            f"it is more than {tolerance.future} after the service's clock "
            f"({now.astimezone(UTC).isoformat(timespec='seconds')}); send the true time",
        )
    if timestamp < now - tolerance.past:
        raise InvalidEvent(
            "timestamp",
            timestamp.isoformat(),
            f"it is more than {tolerance.past.days} days old; use `recsys import` for history",
        )
