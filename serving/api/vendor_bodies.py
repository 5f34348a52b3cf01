"""Schemas of the bodies of GA4, Segment, Elasticsearch and OpenSearch, and their conversion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from recsys.catalog.rules import Boosts
from recsys.errors import InvalidInput
from recsys.events.adapters import GA4Body, SegmentMessage, read_lax
from recsys.events.schema import Text, Word, invalid_event
from recsys.recommend.explanation.language_files import Language
from serving.api.parsing import read_body
from serving.api.problems import ProblemError, invalid, invalid_input
from serving.api.schemas import (
    MAX_EVENTS,
    MAX_ITEMS,
    RequestConsent,
    RequestContext,
    RerankAnswer,
    RerankRequest,
    User,
)
from serving.api.search_hits import items_of


class GA4Request(GA4Body, frozen=True, kw_only=True):
    """A Measurement Protocol body as it is; what it holds besides is left."""

    events: Annotated[list[Raw], Meta(min_length=1, max_length=MAX_EVENTS)]


class SegmentRequest(SegmentMessage, frozen=True, kw_only=True, rename="camel"):
    """A Segment message as it is, or a `batch` of them; what it holds besides is left."""

    batch: Annotated[list[Raw], Meta(min_length=1, max_length=MAX_EVENTS)] | UnsetType = UNSET


class EngineRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A search engine's answer to put into the person's own order.

    `response` is the engine's body as it is; `id_field` says where a hit names its item, `_id` or
    a path in its `_source` or `fields`.
    """

    response: Raw
    user: User = User()
    query: Text | None = None
    boost: Boosts = []
    consent: RequestConsent | None = None
    context: RequestContext = RequestContext()
    language: Language | None = None
    id_field: Word = "_id"


class EngineHits(msgspec.Struct, frozen=True):
    """The engine's `hits`; an answer has them in the person's order."""

    hits: Annotated[list[dict[str, Any]], Meta(max_length=MAX_ITEMS)]


class EngineResponse(msgspec.Struct, frozen=True):
    """The part of an engine's body that is read; the rest comes back as it was."""

    hits: EngineHits


class EngineAnswer(msgspec.Struct, frozen=True):
    """The engine's body, its hits reordered, and `_recsys` beside them: which answer this is and
    why it is so; null without hits."""

    hits: EngineHits
    recsys: RerankAnswer | None = msgspec.field(name="_recsys")


def read_message(body: bytes) -> SegmentRequest:
    """A Segment body; ProblemError 400 where it cannot be read, 422 where a field is wrong."""
    try:
        return read_body(_SEGMENT, body)
    except ProblemError as problem:
        if problem.status != 422:
            raise
        try:  # an empty text in place of a number says nothing, in a single message as in a batch
            return read_lax(body, SegmentRequest)
        except (InvalidInput, TypeError):
            raise problem from None


def read_response(raw: Raw) -> dict[str, Any]:
    """The engine's body; ProblemError 400 or 422 where it is no JSON object."""
    response = read_body(_OBJECT, bytes(raw))
    if not isinstance(response, dict):
        raise invalid("response", None, "send the engine's body, a JSON object")
    return response


def rerank_request(request: EngineRequest, response: Mapping[str, Any]) -> RerankRequest | None:
    """The hits as a list to order, None without hits; ProblemError 422 names what is wrong."""
    try:
        items = items_of(response, id_field=request.id_field)
        if not items:
            return None
        listed = msgspec.convert({"items": items}, RerankRequest)
    except msgspec.ValidationError as error:
        wrong = invalid_event(str(error), {"items": items})
        raise invalid_input(InvalidInput(f"response {wrong.field}", None, wrong.remedy)) from None
    except InvalidInput as error:
        raise invalid_input(error) from None
    return msgspec.structs.replace(
        listed,
        user=request.user,
        query=request.query,
        boost=request.boost,
        consent=request.consent,
        context=request.context,
        language=request.language,
    )


_SEGMENT: Final = msgspec.json.Decoder(SegmentRequest, strict=False)
_OBJECT: Final = msgspec.json.Decoder()
