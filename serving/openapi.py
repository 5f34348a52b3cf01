"""/openapi.json: generated from the schemas, so that it cannot differ from what is accepted."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from recsys.catalog import Item
from recsys.events import Event
from recsys.profiles import Profile
from serving.schemas import (
    EventsAnswer,
    EventsRequest,
    Health,
    ItemsRequest,
    Problem,
    ProfilesRequest,
    PutAnswer,
    RecommendationsAnswer,
    RecommendationsRequest,
    RerankAnswer,
    RerankRequest,
)

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "/v1/recommendations": {
        "user": {"user_id": "u-17", "session_id": "s-3"},
        "consent": {"personalization": True},
        "placements": [
            {"placement": "for_you", "k": 8},
            {"placement": "bought_together", "k": 4, "items": ["sku-1"]},
        ],
        "context": {"country": "NL", "device": "mobile"},
        "explain": True,
        "fields": ["title", "price"],
    },
    "/v1/rerank": {
        "user": {"user_id": "u-17"},
        "query": "coffee",
        "items": [{"item_id": "sku-1", "score": 9.1}, {"item_id": "sku-2", "score": 8.7}],
    },
    "/v1/events": {
        "events": [
            {
                "event_id": "c0ffee-1",
                "event": "view_item",
                "timestamp": "2026-11-21T20:15:00Z",
                "user_id": "u-17",
                "session_id": "s-3",
                "items": [{"item_id": "sku-1"}],
                "consent": {"personalization": True},
            }
        ]
    },
    "/v1/catalog/items": {
        "items": [
            {
                "item_id": "sku-1",
                "title": "Coffee mug",
                "category": ["Home", "Kitchen", "Mugs"],
                "price": 9.95,
                "stock": 12,
            }
        ]
    },
    "/v1/profiles": {
        "profiles": [{"user_id": "u-17", "country": "NL", "consent": {"personalization": True}}]
    },
}
"""Path → a body that the route accepts."""

_BODIES: Final[dict[str, tuple[str, str, type, type]]] = {
    "/v1/recommendations": (
        "post",
        "Lists for one or several places of a page.",
        RecommendationsRequest,
        RecommendationsAnswer,
    ),
    "/v1/rerank": (
        "post",
        "A search result or listing page in the person's own order.",
        RerankRequest,
        RerankAnswer,
    ),
    "/v1/events": ("post", "What visitors did; a result per event.", EventsRequest, EventsAnswer),
    "/v1/catalog/items": (
        "put",
        "Catalogue items; in force within a second.",
        ItemsRequest,
        PutAnswer,
    ),
    "/v1/profiles": (
        "put",
        "Declared traits, customer group, account, consent.",
        ProfilesRequest,
        PutAnswer,
    ),
}
_READS: Final[dict[str, str]] = {
    "/livez": "The process answers.",
    "/readyz": "A model is loaded and warmed up.",
    "/metrics": "Prometheus text.",
    "/openapi.json": "This description.",
}
_PROBLEMS: Final[dict[str, str]] = {
    "400": "The body cannot be read.",
    "401": "The API key is missing or wrong.",
    "408": "The body took too long to arrive.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "A field breaks a documented rule.",
    "503": "The store or the model is unavailable; see Retry-After.",
}
_REF: Final = "#/components/schemas/{name}"
_ENTRIES: Final = (
    ("EventsRequest", "events", Event),
    ("ItemsRequest", "items", Item),
    ("ProfilesRequest", "profiles", Profile),
)
"""Bodies whose entries are read one by one, so that their own type says nothing of them."""


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 description."""
    types = [*(t for _, _, *pair in _BODIES.values() for t in pair), Event, Item, Profile]
    _, components = msgspec.json.schema_components([*types, Problem, Health], ref_template=_REF)
    for body, field, entry in _ENTRIES:
        components[body]["properties"][field]["items"] = _ref(entry)
    paths: dict[str, Any] = {
        path: {method: _operation(path, method, summary, asked, answered)}
        for path, (method, summary, asked, answered) in _BODIES.items()
    }
    for path, summary in _READS.items():
        paths[path] = {"get": _reading(path, summary)}
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


def _operation(path: str, method: str, summary: str, asked: type, answered: type) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": _ref(Problem)}}
    return {
        "operationId": method + path.replace("/", "_"),
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _ref(asked), "example": EXAMPLES[path]},
            },
        },
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {"application/json": {"schema": _ref(answered)}},
            },
            **{
                status: {"description": text, "content": problem}
                for status, text in _PROBLEMS.items()
            },
        },
    }


def _reading(path: str, summary: str) -> dict[str, Any]:
    content: dict[str, Any] = {"text/plain": {}} if path == "/metrics" else {"application/json": {}}
    operation: dict[str, Any] = {
        "operationId": "get" + path.replace("/", "_").replace(".", "_"),
        "summary": summary,
        "responses": {"200": {"description": "The answer.", "content": content}},
    }
    if path == "/readyz":
        operation["responses"]["503"] = {"description": "No model is in service yet."}
    return operation


def _ref(type_: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=type_.__name__)}


OPENAPI_JSON: Final = msgspec.json.format(msgspec.json.encode(document()), indent=1)
