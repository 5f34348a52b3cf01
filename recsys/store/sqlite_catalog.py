"""The live catalogue in the SQLite store: each item with the revision that changed it last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import apsw
import msgspec

from recsys.catalog.items import Item, ItemChange
from recsys.store.protocol import CatalogChanges
from recsys.store.sqlite_file import SQLiteFile, meta, set_meta


def put_items(connection: apsw.Connection, items: Sequence[Item], received_at: datetime) -> int:
    """Replaces or adds items under a new revision, which is returned."""
    revision = meta(connection, "revision") + 1
    _write(connection, items, revision, received_at)
    return revision


def put_stock(
    connection: apsw.Connection,
    changes: Sequence[ItemChange],
    known: Mapping[str, Item],
    received_at: datetime,
) -> list[bool]:
    """Applies changes one after the other; True where the item is stored or in `known`."""
    changed: dict[str, Item] = {}
    for change in changes:
        item = changed.get(change.item_id) or _stored_item(connection, change.item_id)
        item = item or known.get(change.item_id)
        if item is not None:
            changed[change.item_id] = change.applied(item)
    if changed:
        _write(connection, changed.values(), meta(connection, "revision") + 1, received_at)
    return [change.item_id in changed for change in changes]


def all_items(file: SQLiteFile) -> list[Item]:
    """Every item, by id."""
    return [
        _decoder.decode(body) for (body,) in file.read("SELECT body FROM items ORDER BY item_id")
    ]


def catalog_changes(connection: apsw.Connection, since: int) -> CatalogChanges:
    """Items put after revision `since`, oldest change first."""
    revision = meta(connection, "revision")
    if revision <= since:
        return CatalogChanges(revision, ())
    rows: list[Any] = connection.execute(
        "SELECT body FROM items WHERE revision > ? ORDER BY revision, item_id", (since,)
    ).fetchall()
    return CatalogChanges(revision, tuple(_decoder.decode(body) for (body,) in rows))


def _write(
    connection: apsw.Connection, items: Iterable[Item], revision: int, received_at: datetime
) -> None:
    set_meta(connection, "revision", revision)
    received = received_at.timestamp()
    connection.executemany(
        "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)",
        [(item.item_id, _encoder.encode(item), revision, received) for item in items],
    )


def _stored_item(connection: apsw.Connection, item_id: str) -> Item | None:
    row = connection.execute("SELECT body FROM items WHERE item_id = ?", (item_id,)).fetchone()
    return None if row is None else _decoder.decode(row[0])


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Item)
