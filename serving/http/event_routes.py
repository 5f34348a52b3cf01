"""The route of events in the canonical form."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response

from serving.api import routes
from serving.api.parsing import read_body
from serving.http.app_state import AppState, Handlers
from serving.http.responses import json_response
from serving.use_cases.ingest import canonical_entries, store_entries

_EVENTS: Final = msgspec.json.Decoder(routes.EVENTS.request)


async def post_events(state: AppState, body: bytes) -> Response:
    """A batch of events: each is accepted, a duplicate, or rejected with field and reason."""
    request = read_body(_EVENTS, body)
    entries = canonical_entries(request, now=state.clock(), tolerance=state.tolerance)
    return json_response(await store_entries(entries, writer=state.writer, metrics=state.metrics))


HANDLERS: Final[Handlers] = {routes.EVENTS: post_events}
