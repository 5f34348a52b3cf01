"""The routes that take the bodies of other systems: GA4, Segment, Elasticsearch and OpenSearch."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response

from serving.api import routes
from serving.api.parsing import read_body
from serving.api.search_hits import reordered
from serving.api.vendor_bodies import read_message, read_response, rerank_request
from serving.http.app_state import AppState, Handlers
from serving.http.responses import ListsResponse, json_response, log_fields_of
from serving.use_cases.ingest import ga4_entries, segment_entries, store_entries

_GA4: Final = msgspec.json.Decoder(routes.GA4_EVENTS.request, strict=False)
_ENGINE: Final = msgspec.json.Decoder(routes.RERANK_ELASTICSEARCH.request)


async def post_ga4_events(state: AppState, body: bytes) -> Response:
    """The events of a GA4 Measurement Protocol body."""
    request = read_body(_GA4, body)
    entries = ga4_entries(request, now=state.clock(), tolerance=state.tolerance)
    return json_response(await store_entries(entries, writer=state.writer, metrics=state.metrics))


async def post_segment_events(state: AppState, body: bytes) -> Response:
    """A Segment message, or a batch of them."""
    entries = segment_entries(
        read_message(body),
        consent=state.segment_consent,
        now=state.clock(),
        tolerance=state.tolerance,
    )
    return json_response(await store_entries(entries, writer=state.writer, metrics=state.metrics))


async def post_rerank_elasticsearch(state: AppState, body: bytes) -> Response:
    """The body of a search answer with its hits in the person's order; unchanged without hits."""
    request = read_body(_ENGINE, body)
    response = read_response(request.response)
    listed = rerank_request(request, response)
    if listed is None:
        return json_response({**response, "_recsys": None})
    answer, logged = state.recommender.rerank(
        listed, state.live_versions(), now=state.clock(), rng=state.rng
    )
    state.impressions.add(logged)
    item_ids = [item.item_id for item in answer.items]
    ordered = reordered(response, item_ids, id_field=request.id_field)
    return ListsResponse({**ordered, "_recsys": answer}, log_fields_of(answer, logged))


HANDLERS: Final[Handlers] = {
    routes.GA4_EVENTS: post_ga4_events,
    routes.SEGMENT_EVENTS: post_segment_events,
    routes.RERANK_ELASTICSEARCH: post_rerank_elasticsearch,
}
