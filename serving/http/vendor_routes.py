"""The routes for events as other systems send them: GA4 and Segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from starlette.responses import Response

from serving.api.parsing import read_body
from serving.api.vendor_bodies import GA4Request, read_message
from serving.http.app_state import AppState
from serving.use_cases.ingest import Entry, ga4_entries, segment_entries, take


async def post_ga4_events(state: AppState, body: bytes) -> Response:
    """A GA4 Measurement Protocol body as it is."""
    request = read_body(_GA4, body)
    entries = ga4_entries(request, now=state.clock(), tolerance=state.tolerance)
    return await _taken(entries, state)


async def post_segment_events(state: AppState, body: bytes) -> Response:
    """A Segment message or batch as it is."""
    entries = segment_entries(
        read_message(body),
        consent=state.segment_consent,
        now=state.clock(),
        tolerance=state.tolerance,
    )
    return await _taken(entries, state)


async def _taken(entries: Sequence[Entry], state: AppState) -> Response:
    answer = await take(entries, writer=state.writer, metrics=state.metrics)
    return Response(msgspec.json.encode(answer), media_type="application/json")


_GA4: Final = msgspec.json.Decoder(GA4Request, strict=False)
