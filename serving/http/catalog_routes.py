"""The routes of the catalogue: items, and stock and prices alone."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from starlette.responses import Response

from recsys.catalog.items import parse_item, parse_item_change
from serving.api import routes
from serving.api.parsing import parse_entries, put_answer, read_body, reject_unknown
from serving.http.app_state import AppState, Handlers
from serving.http.responses import json_response

_ITEMS: Final = msgspec.json.Decoder(routes.ITEMS.request)
_STOCK: Final = msgspec.json.Decoder(routes.STOCK.request)


async def put_items(state: AppState, body: bytes) -> Response:
    """Stores items; in force in this worker at once and in the others within a second."""
    request = read_body(_ITEMS, body)
    results, items = parse_entries(request.items, parse_item, kind="item", id_field="item_id")

    def put() -> None:
        state.store.put_items(items, received_at=state.clock())
        state.source.follow_catalog()

    if items:
        await asyncio.to_thread(put)
    return json_response(put_answer(results))


async def post_stock(state: AppState, body: bytes) -> Response:
    """Changes stock and prices of known items, in force like items."""
    request = read_body(_STOCK, body)
    results, changes = parse_entries(
        request.items, parse_item_change, kind="item", id_field="item_id"
    )
    versions = state.source.current
    known = {} if versions is None else versions.described([change.item_id for change in changes])

    def put() -> list[bool]:
        is_known = state.store.put_stock(changes, known=known, received_at=state.clock())
        state.source.follow_catalog()
        return is_known

    is_known = await asyncio.to_thread(put) if changes else []
    return json_response(put_answer(reject_unknown(results, is_known)))


HANDLERS: Final[Handlers] = {
    routes.ITEMS: put_items,
    routes.STOCK: post_stock,
}
