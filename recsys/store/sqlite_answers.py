"""Logged answers in the SQLite store, oldest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import apsw
import msgspec

from recsys.store.protocol import LoggedAnswer
from recsys.store.sqlite_file import SQLiteFile
from recsys.store.sqlite_people import was_erased

ANSWERS_SQL: Final = """
SELECT time, number, body FROM answers
WHERE (time, number) > (?, ?) AND time < ? ORDER BY time, number LIMIT 5000
"""


def log_answers(connection: apsw.Connection, answers: Sequence[LoggedAnswer]) -> None:
    """Appends answers; one that was given before its person was erased loses the person."""
    anybody_erased = connection.execute("SELECT 1 FROM erasures LIMIT 1").fetchone()
    if anybody_erased is not None:
        answers = [
            anonymous(answer)
            if answer.person is not None and was_erased(connection, answer.person, answer.time)
            else answer
            for answer in answers
        ]
    connection.executemany(
        "INSERT INTO answers (time, body, person) VALUES (?, ?, ?)",
        [(answer.time, _encoder.encode(answer), answer.person) for answer in answers],
    )


def each_answer(file: SQLiteFile, since: datetime, until: datetime) -> Iterator[LoggedAnswer]:
    """The answers given in [since, until), read part by part."""
    last: tuple[float, int] = (since.timestamp(), -1)
    while rows := file.read(ANSWERS_SQL, (*last, until.timestamp())):
        for _, _, body in rows:
            yield _decoder.decode(body)
        last = rows[-1][:2]


def count_answers(file: SQLiteFile, since: datetime, until: datetime, at_most: int) -> int:
    """The number of answers given in [since, until), counted up to `at_most`."""
    rows = file.read(
        "SELECT count(*) FROM (SELECT 1 FROM answers WHERE time >= ? AND time < ? LIMIT ?)",
        (since.timestamp(), until.timestamp(), at_most),
    )
    return int(rows[0][0])


def answers_of(connection: apsw.Connection, keys: Sequence[str], limit: int) -> list[LoggedAnswer]:
    """The oldest answers given to the person of these keys."""
    marks = ", ".join("?" * len(keys))
    rows = connection.execute(
        f"SELECT body FROM answers WHERE person IN ({marks}) ORDER BY time, number LIMIT ?",
        (*keys, limit),
    )
    return [_decoder.decode(body) for (body,) in rows]


def anonymise_answers(connection: apsw.Connection, keys: Sequence[str]) -> int:
    """Removes the person from the answers given under these keys; gives their number."""
    changed = 0
    for key in keys:
        rows: Sequence[Any] = connection.execute(
            "SELECT number, body FROM answers WHERE person = ?", (key,)
        ).fetchall()
        connection.executemany(
            "UPDATE answers SET person = NULL, body = ? WHERE number = ?",
            [(_encoder.encode(anonymous(_decoder.decode(body))), number) for number, body in rows],
        )
        changed += len(rows)
    return changed


def anonymous(answer: LoggedAnswer) -> LoggedAnswer:
    """The answer with nothing left in it that is tied to a person."""
    return replace(answer, person=None, context={})


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(LoggedAnswer)
