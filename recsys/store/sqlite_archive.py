"""From the SQLite store to the event log: events are archived once, erased persons removed."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
import numpy as np

from recsys.events.log import EventLog, rows
from recsys.events.schema import Event
from recsys.store.sqlite_file import SQLiteFile, set_meta

ARCHIVING: Final = "archiving"
"""What one process does at a time: changing the log."""

PART_SQL: Final = """
SELECT max(seq) FROM (
    SELECT seq, sum(length(body)) OVER (ORDER BY seq) - length(body) AS bytes_before
    FROM waiting WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 200000
) WHERE bytes_before < ?
"""


def archive(file: SQLiteFile, log: EventLog, *, part_bytes: int) -> int:
    """Copies events not yet archived into the log, each exactly once; gives their number.

    In three steps, each durable: the span of the part is written down; the log gets the part under
    a name made from the span; the events leave the store. Whoever is killed in between leaves the
    span behind, and the next call writes the same part again over what is there.
    """
    archived = 0
    with file.alone(ARCHIVING):
        newest = _number(file, "last_seq")
        while (span := _plan_part(file, newest, part_bytes)) is not None:
            first, last = span
            events = [
                _events.decode(body)
                for (body,) in file.read(
                    "SELECT body FROM waiting WHERE seq BETWEEN ? AND ? ORDER BY seq", span
                )
            ]
            part = f"{_text(file, 'store_id')}-{first:012d}-{last:012d}"
            log.append(rows(events), part=part)
            _finish_part(file, last)
            archived += len(events)
    return archived


def waiting_events(file: SQLiteFile) -> list[Event]:
    """The events that are not in the event log yet, in the order of their arrival."""
    rows = file.read("SELECT body FROM waiting ORDER BY seq")
    return [_events.decode(body) for (body,) in rows]


def clear_log(file: SQLiteFile, log: EventLog, *, at: datetime) -> int:
    """Removes the rows of everybody erased since the last time from the log; gives their number.

    No archive is under way meanwhile, which might bring rows that it read before the erasure.
    """
    with file.alone(ARCHIVING):
        erasures = file.read(
            "SELECT receipt, code FROM receipts JOIN erasures USING (receipt) "
            "WHERE log_time IS NULL ORDER BY receipt"
        )
        pending = sorted({receipt for receipt, _ in erasures})
        if not pending:
            return 0
        codes = [[code for name, code in erasures if name == receipt] for receipt in pending]
        erased = log.erase([np.array(each, np.int64).view(np.uint64) for each in codes])
        with file.writing() as connection:
            connection.executemany(
                "UPDATE receipts SET log_time = ?, log_rows = ? WHERE receipt = ?",
                [
                    (at.timestamp(), count, name)
                    for name, count in zip(pending, erased, strict=True)
                ],
            )
    return sum(erased)


def _plan_part(file: SQLiteFile, newest: int, part_bytes: int) -> tuple[int, int] | None:
    archived, planned = _number(file, "archived"), _number(file, "planned")
    if planned == archived:
        planned = file.read(PART_SQL, (archived, newest, part_bytes))[0][0] or archived
        with file.writing() as connection:
            set_meta(connection, "planned", planned)
    return (archived + 1, planned) if planned > archived else None


def _finish_part(file: SQLiteFile, last: int) -> None:
    with file.writing() as connection:
        connection.execute("DELETE FROM waiting WHERE seq <= ?", (last,))
        set_meta(connection, "archived", last)


def _number(file: SQLiteFile, name: str) -> int:
    return int(_text(file, name))


def _text(file: SQLiteFile, name: str) -> str:
    return str(file.read("SELECT value FROM meta WHERE name = ?", (name,))[0][0])


_events = msgspec.json.Decoder(Event)
