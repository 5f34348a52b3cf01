"""/openapi.json: generated from the schemas, so that it cannot differ from what is accepted."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from recsys.catalog.items import Item, ItemChange
from recsys.events.adapters import GA4Event, SegmentMessage
from recsys.events.schema import Event
from recsys.query.profile import Profile
from serving.api.customer_schemas import (
    EraseAnswer,
    ExportAnswer,
    ExportRequest,
    FeedbackAnswer,
    FeedbackRequest,
    PersonRequest,
    PreferencesAnswer,
    PreferencesRequest,
)
from serving.api.examples import ANSWERS, PROBLEM, REQUESTS
from serving.api.result_schemas import ExperimentsAnswer, KpiAnswer
from serving.api.schemas import (
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
    StockRequest,
)
from serving.api.vendor_bodies import (
    EngineAnswer,
    EngineRequest,
    EngineResponse,
    GA4Request,
    SegmentRequest,
)

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
    "/v1/rerank/elasticsearch": (
        "post",
        "The body of an Elasticsearch or OpenSearch answer, its hits in the person's own order.",
        EngineRequest,
        EngineAnswer,
    ),
    "/v1/events": ("post", "What visitors did; a result per event.", EventsRequest, EventsAnswer),
    "/v1/events/ga4": (
        "post",
        "A GA4 Measurement Protocol body as it is; a result per event.",
        GA4Request,
        EventsAnswer,
    ),
    "/v1/events/segment": (
        "post",
        "A Segment message or batch as it is; a result per message.",
        SegmentRequest,
        EventsAnswer,
    ),
    "/v1/catalog/items": (
        "put",
        "Catalogue items; in force within a second.",
        ItemsRequest,
        PutAnswer,
    ),
    "/v1/catalog/stock": (
        "post",
        "New stock and prices of items; in force within a second.",
        StockRequest,
        PutAnswer,
    ),
    "/v1/profiles": (
        "put",
        "Declared traits, customer group, account, consent.",
        ProfilesRequest,
        PutAnswer,
    ),
    "/v1/feedback": (
        "post",
        "What a person says of an item, a brand or a category; in force in the next answer.",
        FeedbackRequest,
        FeedbackAnswer,
    ),
    "/v1/preferences": (
        "put",
        "Interests, exclusions, the order that is wanted, personalisation off or on.",
        PreferencesRequest,
        PreferencesAnswer,
    ),
    "/v1/preferences/read": (
        "post",
        "The preferences on record.",
        PersonRequest,
        PreferencesAnswer,
    ),
    "/v1/privacy/export": (
        "post",
        "Everything that is held about a person, page by page.",
        ExportRequest,
        ExportAnswer,
    ),
    "/v1/privacy/erase": (
        "post",
        "Removes everything that is held about a person; the answer is a receipt.",
        PersonRequest,
        EraseAnswer,
    ),
}
_READS: Final[dict[str, str]] = {
    "/v1/experiments": "The variants that are served now, with their shares.",
    "/v1/kpi": "What the answers of the last seven days brought, by placement and day.",
    "/livez": "The process answers.",
    "/readyz": "A model is loaded and warmed up.",
    "/metrics": "Prometheus text.",
    "/openapi.json": "This description.",
}
_ANSWERED: Final[dict[str, type]] = {
    "/v1/experiments": ExperimentsAnswer,
    "/v1/kpi": KpiAnswer,
}
"""Path read → the type of its answer, where it is not Health."""
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
    types = [
        *(t for _, _, *pair in _BODIES.values() for t in pair),
        *(entry for _, _, entry in _ENTRIES),
        EngineResponse,
        *_ANSWERED.values(),
        Problem,
        Health,
    ]
    _, components = msgspec.json.schema_components(types, ref_template=_REF)
    for body, field, entry in _ENTRIES:
        components[body]["properties"][field]["items"] = _ref(entry)
    components["EngineRequest"]["properties"]["response"] = _ref(EngineResponse)
    components = _in_ecma_dialect(components)
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


def _operation(path: str, method: str, summary: str, asked: type, answered: type) -> dict[str, Any]:
    return {
        "operationId": method + path.replace("/", "_"),
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(asked), "example": REQUESTS[path]}},
        },
        "responses": {
            "200": _response("The answer.", _json(answered, ANSWERS[path])),
            **{status: _response(text, _PROBLEM) for status, text in _PROBLEMS.items()},
        },
    }


def _reading(path: str, summary: str) -> dict[str, Any]:
    content: dict[str, Any]
    match path:
        case "/metrics":
            content = {"text/plain": {"schema": {"type": "string"}}}
        case "/openapi.json":
            content = {"application/json": {"schema": {"type": "object"}}}
        case _:
            content = _json(_ANSWERED.get(path, Health), ANSWERS[path])
    statuses = {
        status: text for status, text in _PROBLEMS.items() if status in ("401", "503", "default")
    }
    return {
        "operationId": "get" + path.replace("/", "_").replace(".", "_"),
        "summary": summary,
        "responses": {
            "200": _response("The answer.", content),
            **{status: _response(text, _PROBLEM) for status, text in statuses.items()},
        },
    }


def _response(text: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": content}


def _json(type_: type, example: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(type_), "example": example}}


def _ref(type_: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=type_.__name__)}


_PROBLEM: Final = {"application/problem+json": {"schema": _ref(Problem), "example": PROBLEM}}

OPENAPI_JSON: Final = msgspec.json.format(msgspec.json.encode(document()), indent=1)
