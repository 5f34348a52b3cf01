"""What the adapters share: ids as text, a made event id, and a mapping without empty fields."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from recsys.errors import InvalidEvent
from recsys.events.schema import invalid_event

T = TypeVar("T")

ForeignId = str | int | None
"""An id as other systems send it: many write their numbers without quotes."""

RECOMMENDATION_ID: Final = re.compile(r"r-[0-9a-f]{24,40}")
"""The form of a `recommendation_id`, to recognise it in a field for list ids."""

NOT_SET: Final = frozenset({"", "(not set)", "(none)", "(other)"})
"""What Google's exports write where nothing was sent."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A valid message that holds nothing for recommendations."""

    reason: str


Translated = Mapping[str, Any] | Ignored


def read_lax(raw: bytes | msgspec.Raw | Mapping[str, Any], type_: type[T]) -> T:
    """The message in `raw` (JSON text or a mapping), numbers in quotes as numbers and empty texts
    as missing; InvalidEvent names field and value."""
    try:
        try:
            if isinstance(raw, Mapping):
                return msgspec.convert(raw, type_, strict=False)
            return msgspec.json.decode(raw, type=type_, strict=False)
        except msgspec.ValidationError:
            # Tag managers send "" for a price that is not known.
            value = raw if isinstance(raw, Mapping) else msgspec.json.decode(raw)
            return msgspec.convert(_without_empty_texts(value), type_, strict=False)
    except msgspec.ValidationError as error:
        raise invalid_event(str(error), raw) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidEvent("event", None, f"send one JSON object in UTF-8 ({error})") from error


def cut(text: str | None, length: int) -> str | None:
    """The text cut to the longest length that is stored; None where it is empty."""
    return as_id(text) and text and text[:length]


def context_of(
    *,
    device: str | None = None,
    country: str | None = None,
    channel: str | None = None,
    referrer: str | None = None,
) -> dict[str, Any]:
    """The canonical context, each text cut to its longest length."""
    return filled(
        {
            "device": cut(device, 64),
            "country": cut(country, 64),
            "channel": cut(channel, 64),
            "referrer": cut(referrer, 512),
        }
    )


def currency_of(code: str | None) -> str | None:
    """The currency in capitals."""
    return code.upper() if code else None


def _without_empty_texts(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_empty_texts(inner) for key, inner in value.items() if inner != ""}
    return [_without_empty_texts(inner) for inner in value] if isinstance(value, list) else value


def as_id(value: ForeignId) -> str | None:
    """The id as text; None where there is none."""
    return None if value is None or value in NOT_SET else str(value)


def made_id(source: str, *parts: object) -> str:
    """A 128-bit event id hashed from identifying fields: the same parts give the same id."""
    text = "\x1f".join("" if part is None else str(part) for part in parts)
    return f"{source}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def moment(micros: int) -> str:
    """Epoch microseconds as an RFC 3339 time; InvalidEvent where it is out of range."""
    try:
        return datetime.fromtimestamp(micros / 1e6, UTC).isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidEvent(
            "timestamp_micros", micros, "send microseconds since 1970, such as 1795291200000000"
        ) from error


def recommendation_of(recommendation_id: ForeignId, list_id: ForeignId) -> str | None:
    """The recommendation id of an event: the one that was sent, else a list id of the same form."""
    if recommendation_id is not None:
        return as_id(recommendation_id)
    listed = as_id(list_id)
    return listed if listed is not None and RECOMMENDATION_ID.fullmatch(listed) else None


def filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are not empty."""
    return {name: value for name, value in fields.items() if value not in (None, [], {})}
