"""The routes of operators and owners: health, metrics, description, experiments and figures."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response

from serving.api import routes
from serving.api.openapi import OPENAPI_JSON
from serving.api.schemas import Health
from serving.http.app_state import AppState, Handlers
from serving.http.responses import json_response
from serving.metrics import CONTENT_TYPE
from serving.use_cases.results import running


async def get_experiments(state: AppState, _body: bytes) -> Response:
    """The variants that are served now, with their shares."""
    return json_response(running(state.live_versions()))


async def get_kpi(state: AppState, _body: bytes) -> Response:
    """Clicks, carts and sales that followed from the answers of the last days."""
    now = state.clock()
    versions = state.source.current
    return json_response(await asyncio.to_thread(lambda: state.results.kpi(versions, now=now)))


async def get_livez(_state: AppState, _body: bytes) -> Response:
    """The process answers."""
    return json_response(Health(status="alive"))


async def get_readyz(state: AppState, _body: bytes) -> Response:
    """A bundle is loaded and warmed up."""
    versions = state.live_versions().model_versions
    return json_response(Health(status="ready", model_versions=dict(versions)))


async def get_metrics(state: AppState, _body: bytes) -> Response:
    """The metrics in Prometheus' text format, with the age of each served model."""
    if state.source.current is not None:
        now = state.clock()
        for variant in state.source.current.variants:
            age = (now - variant.bundle.manifest.as_of).total_seconds()
            state.metrics.model_age.labels(variant.name).set(age)
    return Response(state.metrics.text(), headers={"content-type": CONTENT_TYPE})


async def get_openapi(_state: AppState, _body: bytes) -> Response:
    """The OpenAPI description of the routes."""
    return Response(OPENAPI_JSON, media_type="application/json")


HANDLERS: Final[Handlers] = {
    routes.EXPERIMENTS: get_experiments,
    routes.KPI: get_kpi,
    routes.LIVE: get_livez,
    routes.READY: get_readyz,
    routes.METRICS: get_metrics,
    routes.OPENAPI: get_openapi,
}
