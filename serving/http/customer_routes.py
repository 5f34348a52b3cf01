"""The routes about a person: profile, feedback, preferences, access and erasure."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from starlette.responses import Response

from recsys.query.profile import parse_profile
from serving.api import routes
from serving.api.parsing import parse_entries, put_answer, read_body
from serving.http.app_state import AppState, Handlers
from serving.http.responses import json_response
from serving.use_cases import customer_choices

_PROFILES: Final = msgspec.json.Decoder(routes.PROFILES.request)
_FEEDBACK: Final = msgspec.json.Decoder(routes.FEEDBACK.request)
_PREFERENCES: Final = msgspec.json.Decoder(routes.PREFERENCES.request)
_PERSON: Final = msgspec.json.Decoder(routes.ERASE.request)
_EXPORT: Final = msgspec.json.Decoder(routes.EXPORT.request)


async def put_profiles(state: AppState, body: bytes) -> Response:
    """Declared traits, customer group, account and consent."""
    request = read_body(_PROFILES, body)
    results, profiles = parse_entries(
        request.profiles, parse_profile, kind="profile", id_field="user_id"
    )
    if profiles:
        await asyncio.to_thread(
            lambda: state.store.put_profiles(profiles, received_at=state.clock())
        )
    return json_response(put_answer(results))


async def post_feedback(state: AppState, body: bytes) -> Response:
    """Feedback on an item, a brand or a category; in force in the next answer."""
    return json_response(
        await customer_choices.give_feedback(
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
    """Interests, exclusions, the order of lists, personalisation off or on."""
    request = read_body(_PREFERENCES, body)
    now = state.clock()
    return json_response(
        await asyncio.to_thread(
            lambda: customer_choices.keep_preferences(request, store=state.store, now=now)
        )
    )


async def read_preferences(state: AppState, body: bytes) -> Response:
    """The preferences on record."""
    user = read_body(_PERSON, body).user
    return json_response(
        await asyncio.to_thread(lambda: customer_choices.read_preferences(user, store=state.store))
    )


async def post_export(state: AppState, body: bytes) -> Response:
    """A page of the records that are held about a person."""
    request = read_body(_EXPORT, body)
    return json_response(await asyncio.to_thread(lambda: state.privacy.export(request)))


async def post_erase(state: AppState, body: bytes) -> Response:
    """Removes everything that is held about a person; the answer is a receipt."""
    user = read_body(_PERSON, body).user
    now = state.clock()
    return json_response(
        await asyncio.to_thread(lambda: state.privacy.erase(user, now=now, rng=state.rng))
    )


HANDLERS: Final[Handlers] = {
    routes.PROFILES: put_profiles,
    routes.FEEDBACK: post_feedback,
    routes.PREFERENCES: put_preferences,
    routes.READ_PREFERENCES: read_preferences,
    routes.EXPORT: post_export,
    routes.ERASE: post_erase,
}
