"""Readers of benchmark files. A line that breaks the format raises InvalidInput with file, line and
remedy."""

from __future__ import annotations

import gzip
import json
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.errors import InvalidInput
from recsys.ids import Numbers, Vocabulary

FILLER: Final = "-1"
"""Basket files of the next-basket literature pad each user with a basket of this item alone."""


@dataclass(slots=True)
class Numbering:
    """Numbers ids in the order in which they are first seen."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, id: str) -> int:
        """The number of an id, a new one where it was not seen before."""
        return self.numbers.setdefault(id, len(self.numbers))

    def vocabulary(self) -> Vocabulary:
        """The ids in the order of their numbers."""
        return Vocabulary(list(self.numbers))

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class ItemLists:
    """A list of items per user: user u has `items[starts[u]:starts[u + 1]]`, in their order."""

    users: tuple[str, ...]
    starts: NDArray[np.int64]
    items: Numbers

    def of(self, user: int) -> Numbers:
        """The items of one user."""
        return self.items[self.starts[user] : self.starts[user + 1]]


@dataclass(frozen=True, slots=True)
class Clicks:
    """Clicks in the order of sessions, each oldest first; clicks of one second keep their order."""

    sessions: NDArray[np.int64]
    items: Numbers
    times: NDArray[np.float64]

    def where(self, chosen: NDArray[np.bool_]) -> Clicks:
        """The chosen clicks; sessions keep their numbers."""
        return Clicks(self.sessions[chosen], self.items[chosen], self.times[chosen])


def read_item_lists(path: Path, items: Numbering) -> ItemLists:
    """`user item item …` per line; a user may have no item but only one line."""
    users: dict[str, int] = {}
    lengths, numbers = array("q"), array("i")
    for line, text in _lines(path):
        user, *item_ids = text.split() or [""]
        if not user:
            continue
        if user in users:
            raise InvalidInput(
                f"{path}, line {line}",
                user,
                f"the user has line {users[user]} already; put all items on one line",
            )
        users[user] = line
        lengths.append(len(item_ids))
        numbers.extend(map(items.number, item_ids))
    if not numbers:
        raise InvalidInput(str(path), "", "it holds no items; give lines of `user item item …`")
    starts = np.concatenate([[0], np.cumsum(np.frombuffer(lengths, np.int64))])
    return ItemLists(tuple(users), starts.astype(np.int64), np.array(numbers, np.int32))


def read_clicks(path: Path, items: Numbering) -> Clicks:
    """`SessionId, ItemId, Time` with that header, by tab or comma; Time is in seconds."""
    session_numbers = Numbering()
    sessions, numbers, times = array("q"), array("i"), array("d")
    lines = _lines(path)
    header = next(lines, (1, ""))[1].strip()
    separator = "\t" if "\t" in header else ","
    columns = [name.strip() for name in header.split(separator)]
    try:
        positions = [columns.index(name) for name in ("SessionId", "ItemId", "Time")]
    except ValueError:
        raise InvalidInput(
            f"{path}, line 1", header, "the header must name SessionId, ItemId and Time"
        ) from None
    for line, text in lines:
        cells = text.rstrip("\r\n").split(separator)
        if not text.strip():
            continue
        try:
            session, item, seconds = (cells[position].strip() for position in positions)
            time = float(seconds)
        except (IndexError, ValueError):
            time, session, item = math.nan, "", ""
        if not math.isfinite(time) or not session or not item:
            raise InvalidInput(
                f"{path}, line {line}",
                text.strip(),
                "give a session, an item and a time in seconds in every line",
            )
        sessions.append(session_numbers.number(session))
        numbers.append(items.number(item))
        times.append(time)
    if not times:
        raise InvalidInput(str(path), "", "it holds no clicks; give lines below the header")
    clicks = Clicks(
        np.array(sessions, np.int64), np.array(numbers, np.int32), np.array(times, np.float64)
    )
    order = np.lexsort((clicks.times, clicks.sessions))
    return Clicks(clicks.sessions[order], clicks.items[order], clicks.times[order])


def read_baskets(path: Path) -> dict[str, list[list[str]]]:
    """`{user: [[item, …], …]}`, oldest basket first, without the fillers and empty baskets."""
    read = _object(path)
    baskets: dict[str, list[list[str]]] = {}
    for user, value in read.items():
        # A future may be one basket instead of a list of baskets.
        listed = [value] if isinstance(value, list) and not any(map(_is_list, value)) else value
        if not _is_list(listed) or not all(map(_is_list, listed)):
            raise InvalidInput(
                f"{path}, user {user!r}", value, "give a list of baskets, each a list of item ids"
            )
        kept = [[_id(path, user, item) for item in basket] for basket in listed]
        baskets[user] = [basket for basket in kept if basket and basket != [FILLER]]
    return baskets


def read_attributes(path: Path) -> dict[str, list[str]]:
    """`{item: [attribute, …]}`."""
    attributes: dict[str, list[str]] = {}
    for item, value in _object(path).items():
        if not _is_list(value):
            raise InvalidInput(f"{path}, item {item!r}", value, "give a list of attribute ids")
        attributes[item] = [_id(path, item, attribute) for attribute in value]
    return attributes


def _object(path: Path) -> Mapping[str, Any]:
    try:
        with _opened(path) as file:
            read = json.load(file)
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"{path}, line {error.lineno}", error.msg, "give one JSON object"
        ) from error
    if not isinstance(read, dict) or not read:
        raise InvalidInput(str(path), read, "give one JSON object that is not empty")
    return read


def _id(path: Path, key: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidInput(f"{path}, {key!r}", value, "an id is a number or a text")
    return str(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with _opened(path) as file:
        yield from enumerate(file, start=1)


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """The text of a file, plain or gzip; InvalidInput where it cannot be read."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if packed
            else path.open(encoding="utf-8") as file
        ):
            yield file
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidInput(str(path), str(error), "give a text file in UTF-8, or its gzip") from (
            error
        )
