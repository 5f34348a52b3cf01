"""Reads `PersonRecords` from the event log: feedback, accounts and visits under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import duckdb
import numpy as np

from recsys.dataset.person_records import (
    AccountEvents,
    Asides,
    PersonRecords,
    no_account_events,
    session_codes,
)
from recsys.events.views import literal
from recsys.ids import Vocabulary
from recsys.query.facts import SESSION_GAP
from recsys.query.feedback import REFUSALS
from recsys.query.history import StoredEvent
from recsys.query.preferences import Preferences
from recsys.query.profile import Profile
from recsys.query.query import Context


def read_person_records(
    connection: duckdb.DuckDBPyConnection,
    *,
    as_of: datetime,
    profiles: Mapping[str, Profile],
    preferences: Mapping[str, Preferences],
) -> PersonRecords:
    """The records in `person_events`, with the tables `items` and `kinds` of the training data."""
    declared = {
        person: profile.account_id for person, profile in profiles.items() if profile.account_id
    }
    connection.execute(
        "CREATE TABLE declared_accounts AS "
        "SELECT unnest(?::VARCHAR[]) AS person, unnest(?::VARCHAR[]) AS declared",
        [list(declared), list(declared.values())],
    )
    account_ids: dict[str, list[tuple[float, str]]] = {}
    for person, time, account_id in connection.execute(ACCOUNT_IDS_SQL).fetchall():
        account_ids.setdefault(person, []).append((time, account_id))
    contexts = connection.execute(
        CONTEXTS_SQL.format(as_of=literal(as_of), gap=SESSION_GAP.total_seconds())
    ).fetchall()
    return PersonRecords(
        asides=_asides(connection.execute(ASIDES_SQL).fetchall()),
        account_events=_account_events(connection)
        if account_ids or declared
        else no_account_events(),
        account_ids=account_ids,
        contexts={
            person: (time, Context(channel, device, country, referrer=referrer))
            for person, time, channel, device, country, referrer in contexts
        },
        preferences=preferences,
    )


_REFUSING: Final = ", ".join(f"'{action}'" for action in sorted(REFUSALS))

# `no_rows` has the columns that files of an earlier version lack.
ASIDES_SQL: Final = f"""
SELECT e.person, e.kind, epoch(timestamp), item_id, position, session_id, action, name, brand,
    category, days, CASE WHEN session_id IS NULL THEN 0 ELSE hash(session_id) END
FROM (
    SELECT * FROM no_rows UNION ALL BY NAME SELECT * FROM person_events WHERE person IS NOT NULL
) e LEFT JOIN (
    SELECT person, item_id FROM last_feedback WHERE action IN ({_REFUSING})
) refused USING (person, item_id)
WHERE kind IN ('feedback', 'custom') OR (refused.person IS NOT NULL AND item_id IS NOT NULL)
ORDER BY e.person, timestamp, hash(event_id), position
"""

ACCOUNT_IDS_SQL: Final = """
SELECT person, epoch(timestamp), account_id FROM person_events
WHERE person IS NOT NULL AND account_id IS NOT NULL
QUALIFY account_id IS DISTINCT FROM
    lag(account_id) OVER (PARTITION BY person ORDER BY timestamp, event_id)
ORDER BY person, timestamp, event_id
"""

ACCOUNT_EVENTS_SQL: Final = """
SELECT coalesce(account_id, declared) AS account, person, i.number AS item,
    k.kind_number::TINYINT AS kind, epoch(timestamp) AS time
FROM person_events JOIN items i USING (item_id) JOIN kinds k USING (kind)
    LEFT JOIN declared_accounts USING (person)
WHERE person IS NOT NULL AND coalesce(account_id, declared) IS NOT NULL
    AND kind NOT IN ('view_item_list', 'feedback', 'custom')
ORDER BY account, time, hash(event_id), position
"""

CONTEXTS_SQL: Final = """
SELECT person, epoch(timestamp), channel, device, country, referrer FROM person_events
WHERE person IS NOT NULL AND epoch(timestamp) >= epoch({as_of}) - {gap}
QUALIFY row_number() OVER (PARTITION BY person ORDER BY timestamp DESC, event_id, position) = 1
"""


def _asides(rows: Sequence[tuple[Any, ...]]) -> dict[str, Asides]:
    """The rows grouped by person."""
    events: dict[str, list[StoredEvent]] = {}
    hashes: dict[str, list[int]] = {}
    for person, *columns, session in rows:
        stored = _stored(*columns)
        events.setdefault(person, []).extend(stored)
        hashes.setdefault(person, []).extend([session] * len(stored))
    return {
        person: Asides(tuple(stored), session_codes(np.array(hashes[person], np.uint64)))
        for person, stored in events.items()
    }


def _stored(
    kind: str,
    time: float,
    item: str | None,
    position: int,
    session_id: str | None,
    action: str | None,
    name: str | None,
    brand: str | None,
    category: str | None,
    days: float | None,
) -> list[StoredEvent]:
    """A row of the log as the store keeps it: a brand and a category that feedback is about are
    rows of their own, behind that of the item."""
    if kind == "custom":
        return [StoredEvent(item or "", kind, time, session_id, action, name)]
    if kind != "feedback":
        return [StoredEvent(item or "", kind, time, session_id)]
    targets: list[tuple[str, str | None, str | None]] = []
    if item is not None:
        targets.append((item, None, None))
    if position == 0 and brand is not None:
        targets.append(("", brand, None))
    if position == 0 and category is not None:
        targets.append(("", None, category))
    return [
        StoredEvent(item_id, kind, time, session_id, action, name, of_brand, of_category, days)
        for item_id, of_brand, of_category in targets
    ]


def _account_events(connection: duckdb.DuckDBPyConnection) -> AccountEvents:
    table = connection.sql(ACCOUNT_EVENTS_SQL).to_arrow_table()
    names = table["account"].to_pylist()
    accounts = Vocabulary(list(dict.fromkeys(names)))
    persons = table["person"].to_pylist()
    members = Vocabulary.of(persons)
    return AccountEvents(
        accounts=accounts,
        starts=np.searchsorted(accounts.numbers(names), np.arange(len(accounts) + 1)),
        members=members,
        persons=members.numbers(persons),
        items=table["item"].to_numpy().astype(np.int32),
        kinds=table["kind"].to_numpy().astype(np.int8),
        times=table["time"].to_numpy().astype(np.float64),
    )
