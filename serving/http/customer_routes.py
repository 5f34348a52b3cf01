"""The routes of the customer's own say: feedback, preferences, access and erasure."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from starlette.responses import Response

from serving.api.customer_schemas import (
    ExportRequest,
    FeedbackRequest,
    PersonRequest,
    PreferencesRequest,
)
from serving.api.parsing import read_body
from serving.http.app_state import AppState
from serving.use_cases.customer_choices import give_feedback, keep_preferences
from serving.use_cases.customer_choices import read_preferences as preferences_of


async def post_feedback(state: AppState, body: bytes) -> Response:
    """What a person says of an item, a brand or a category; in force in the next answer."""
    return _json(
        await give_feedback(
            read_body(_FEEDBACK, body),
            store=state.store,
            writer=state.writer,
            metrics=state.metrics,
            now=state.clock(),
            tolerance=state.tolerance,
            rng=state.rng,
        )
    )


async def put_preferences(state: AppState, body: bytes) -> Response:
    """Interests, exclusions, the order that is wanted, personalisation off or on."""
    request = read_body(_PREFERENCES, body)
    now = state.clock()
    return _json(
        await asyncio.to_thread(lambda: keep_preferences(request, store=state.store, now=now))
    )


async def read_preferences(state: AppState, body: bytes) -> Response:
    """The preferences on record."""
    user = read_body(_PERSON, body).user
    return _json(await asyncio.to_thread(lambda: preferences_of(user, store=state.store)))


async def post_export(state: AppState, body: bytes) -> Response:
    """Everything that is held about a person, page by page."""
    request = read_body(_EXPORT, body)
    return _json(await asyncio.to_thread(lambda: state.privacy.export(request)))


async def post_erase(state: AppState, body: bytes) -> Response:
    """Removes everything that is held about a person; the answer is a receipt."""
    user = read_body(_PERSON, body).user
    now = state.clock()
    return _json(await asyncio.to_thread(lambda: state.privacy.erase(user, now=now, rng=state.rng)))


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")


_FEEDBACK: Final = msgspec.json.Decoder(FeedbackRequest)
_PREFERENCES: Final = msgspec.json.Decoder(PreferencesRequest)
_PERSON: Final = msgspec.json.Decoder(PersonRequest)
_EXPORT: Final = msgspec.json.Decoder(ExportRequest)
