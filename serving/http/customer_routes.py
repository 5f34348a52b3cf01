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
from serving.http.parts import AppState
from serving.use_cases.customer_choices import give_feedback, keep_preferences
from serving.use_cases.customer_choices import read_preferences as preferences_of


async def post_feedback(parts: AppState, body: bytes) -> Response:
    """What a person says of an item, a brand or a category; in force in the next answer."""
    return _json(
        await give_feedback(
            read_body(_FEEDBACK, body),
            store=parts.store,
            writer=parts.writer,
            monitoring=parts.monitoring,
            now=parts.clock(),
            tolerance=parts.tolerance,
            rng=parts.rng,
        )
    )


async def put_preferences(parts: AppState, body: bytes) -> Response:
    """Interests, exclusions, the order that is wanted, personalisation off or on."""
    request = read_body(_PREFERENCES, body)
    now = parts.clock()
    return _json(
        await asyncio.to_thread(lambda: keep_preferences(request, store=parts.store, now=now))
    )


async def read_preferences(parts: AppState, body: bytes) -> Response:
    """The preferences on record."""
    user = read_body(_PERSON, body).user
    return _json(await asyncio.to_thread(lambda: preferences_of(user, store=parts.store)))


async def post_export(parts: AppState, body: bytes) -> Response:
    """Everything that is held about a person, page by page."""
    request = read_body(_EXPORT, body)
    return _json(await asyncio.to_thread(lambda: parts.privacy.export(request)))


async def post_erase(parts: AppState, body: bytes) -> Response:
    """Removes everything that is held about a person; the answer is a receipt."""
    user = read_body(_PERSON, body).user
    now = parts.clock()
    return _json(await asyncio.to_thread(lambda: parts.privacy.erase(user, now=now, rng=parts.rng)))


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")


_FEEDBACK: Final = msgspec.json.Decoder(FeedbackRequest)
_PREFERENCES: Final = msgspec.json.Decoder(PreferencesRequest)
_PERSON: Final = msgspec.json.Decoder(PersonRequest)
_EXPORT: Final = msgspec.json.Decoder(ExportRequest)
