"""What the adapters share: ids as text, a made event id, and a mapping without empty fields."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from recsys.errors import InvalidEvent

ForeignId = str | int | None
"""An id as other systems send it: many write their numbers without quotes."""

RECOMMENDATION_ID: Final = re.compile(r"r-[0-9a-f]{24}")
"""What an answer's `recommendation_id` looks like, to be known in a field for list ids."""

NOT_SAID: Final = frozenset({"", "(not set)", "(none)", "(other)"})
"""What Google's exports write where nothing was sent."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that is sound and tells nothing that a shop's answers could use."""

    reason: str


Translated = Mapping[str, Any] | Ignored


def as_id(value: ForeignId) -> str | None:
    """The id as text; None where nothing was said."""
    return None if value is None or value in NOT_SAID else str(value)


def made_id(source: str, *parts: object) -> str:
    """An id of 128 bits from what makes the event itself: the same parts give the same id."""
    text = "\x1f".join("" if part is None else str(part) for part in parts)
    return f"{source}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def moment(micros: int) -> str:
    """Epoch microseconds as an RFC 3339 time; InvalidEvent where there is no such time."""
    try:
        return datetime.fromtimestamp(micros / 1e6, UTC).isoformat()
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidEvent(
            "timestamp_micros", micros, "send microseconds since 1970, such as 1795291200000000"
        ) from error


def recommendation_of(told: ForeignId, list_id: ForeignId) -> str | None:
    """The answer that an event follows from: as told, else a list id that looks like one."""
    if told is not None:
        return as_id(told)
    listed = as_id(list_id)
    return listed if listed is not None and RECOMMENDATION_ID.fullmatch(listed) else None


def filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value not in (None, [], {})}
