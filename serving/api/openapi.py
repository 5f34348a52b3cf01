"""/openapi.json: generated from the route table, so that it cannot differ from what is accepted."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from recsys.catalog.items import Item, ItemChange
from recsys.events.adapters import GA4Event, SegmentMessage
from recsys.events.schema import Event
from recsys.query.profile import Profile
from serving.api.examples import PROBLEM
from serving.api.routes import ROUTES, Route
from serving.api.schemas import Problem
from serving.api.vendor_bodies import EngineResponse

_PROBLEMS: Final[dict[str, str]] = {
    "400": "The body cannot be read.",
    "401": "The API key is missing or wrong.",
    "408": "The body took too long to arrive.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "A field breaks a documented rule.",
    "503": "The store or the model is unavailable; see Retry-After.",
    "default": "Any other refusal: another host (421), another method (405).",
}
_PROBLEMS_OF_READS: Final = ("401", "503", "default")
_REF: Final = "#/components/schemas/{name}"
_ENTRIES: Final = (
    ("EventsRequest", "events", Event),
    ("GA4Request", "events", GA4Event),
    ("SegmentRequest", "batch", SegmentMessage),
    ("ItemsRequest", "items", Item),
    ("StockRequest", "items", ItemChange),
    ("ProfilesRequest", "profiles", Profile),
)
"""Bodies whose entries are read one by one, so that their own type says nothing of them."""


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 description."""
    types: list[type] = [
        *(route.request for route in ROUTES if route.takes_body),
        *(route.answer for route in ROUTES if route.answer not in (str, dict)),
        *(entry for _, _, entry in _ENTRIES),
        EngineResponse,
        Problem,
    ]
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    for body, field, entry in _ENTRIES:
        components[body]["properties"][field]["items"] = _ref(entry)
    components["EngineRequest"]["properties"]["response"] = _ref(EngineResponse)
    components = _in_ecma_dialect(components)
    paths: dict[str, Any] = {
        route.path: {route.method.lower(): _operation(route)} for route in ROUTES
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Recommendations",
            "version": "1",
            "description": "Personal recommendations that learn from every event.",
        },
        "security": [{"key": []}, {"bearer": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _in_ecma_dialect(schemas: Any) -> Any:
    """The schemas with patterns as JSON Schema reads them: its `$` never matches before a line
    feed, so that what forbids this in Python is left out."""
    if isinstance(schemas, dict):
        return {
            key: value.replace(r"$(?!\n)", "$")
            if key == "pattern" and isinstance(value, str)
            else _in_ecma_dialect(value)
            for key, value in schemas.items()
        }
    return [_in_ecma_dialect(inner) for inner in schemas] if isinstance(schemas, list) else schemas


def _operation(route: Route[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": route.method.lower() + re.sub(r"[/.]", "_", route.path),
        "summary": route.summary,
    }
    problems = _PROBLEMS
    if route.takes_body:
        assert route.example is not None, f"{route.path} needs an example"
        described["requestBody"] = {
            "required": True,
            "content": _json(route.request, route.example.request),
        }
    else:
        problems = {status: _PROBLEMS[status] for status in _PROBLEMS_OF_READS}
    described["responses"] = {
        "200": _response("The answer.", _answer_content(route)),
        **{status: _response(text, _PROBLEM) for status, text in problems.items()},
    }
    return described


def _answer_content(route: Route[Any, Any]) -> dict[str, Any]:
    if route.answer is str:
        return {"text/plain": {"schema": {"type": "string"}}}
    if route.answer is dict:
        return {"application/json": {"schema": {"type": "object"}}}
    assert route.example is not None, f"{route.path} needs an example"
    return _json(route.answer, route.example.answer)


def _response(text: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": content}


def _json(type_: type, example: dict[str, Any] | None) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(type_), "example": example}}


def _ref(type_: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=type_.__name__)}


_PROBLEM: Final = {"application/problem+json": {"schema": _ref(Problem), "example": PROBLEM}}

OPENAPI_JSON: Final = msgspec.json.format(msgspec.json.encode(document()), indent=1)
