"""The routes that give lists: recommendations for a page, and a result list reranked."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response

from serving.api import routes
from serving.api.parsing import read_body
from serving.http.app_state import AppState, Handlers
from serving.http.responses import ListsResponse, log_fields_of
from serving.use_cases.pagination import Pagination, read_pagination

_RECOMMENDATIONS: Final = msgspec.json.Decoder(routes.RECOMMENDATIONS.request)
_RERANK: Final = msgspec.json.Decoder(routes.RERANK.request)


async def post_recommendations(state: AppState, body: bytes) -> Response:
    """Lists for one or several placements of a page."""
    request = read_body(_RECOMMENDATIONS, body)
    now = state.clock()
    earlier = Pagination()
    if request.continue_from:
        earlier = await read_pagination(state.store, request.continue_from, now=now)
    answer, logged = state.recommender.recommend(
        request,
        state.live_versions(),
        now=now,
        rng=state.rng,
        earlier=earlier,
        may_explore=state.impressions.has_room(len(request.placements)),
    )
    state.impressions.add(logged)
    return ListsResponse(answer, log_fields_of(answer, logged))


async def post_rerank(state: AppState, body: bytes) -> Response:
    """A search result or listing page in the person's order."""
    answer, logged = state.recommender.rerank(
        read_body(_RERANK, body), state.live_versions(), now=state.clock(), rng=state.rng
    )
    state.impressions.add(logged)
    return ListsResponse(answer, log_fields_of(answer, logged))


HANDLERS: Final[Handlers] = {
    routes.RECOMMENDATIONS: post_recommendations,
    routes.RERANK: post_rerank,
}
