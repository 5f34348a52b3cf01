"""An example request and answer of each route, as /openapi.json shows them.

A test validates each against its schema and sends the requests to a running service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """A request body (None for a route without a body) and an answer to it."""

    request: Body | None
    answer: Body


_ANSWER: Final[Body] = {
    "recommendation_id": "r-1a201e299445a1c0e7f9b3d2468ace01357",
    "model_version": "20261121T0315-1f3a",
    "variant": "champion",
    "degraded": False,
}
_TWO_ACCEPTED: Final[Body] = {
    "results": [
        {"id": "sku-1", "status": "accepted"},
        {
            "id": "sku-2",
            "status": "rejected",
            "field": "price",
            "reason": "price is '9,95'; expected float, got str",
        },
    ],
    "accepted": 1,
    "rejected": 1,
}
_ONE_ACCEPTED: Final[Body] = {
    "results": [{"event_id": "c0ffee-1", "status": "accepted"}],
    "accepted": 1,
    "duplicates": 0,
    "rejected": 0,
    "ignored": 0,
}

_PREFERENCES: Final[Body] = {
    "personalization": True,
    "order": "own",
    "interests": {"categories": [["Home", "Kitchen"]], "brands": ["Quay"]},
    "exclusions": {"items": ["sku-9"], "brands": ["Harbour"]},
}
_ORDER: Final[Body] = {
    **_ANSWER,
    "items": [
        {
            "item_id": "sku-2",
            "position": 0,
            "original_position": 1,
            "score": 0.82,
            "source": "als",
            "source_text": "fits your taste",
        },
        {
            "item_id": "sku-1",
            "position": 1,
            "original_position": 0,
            "score": 0.54,
            "source": "popularity",
            "source_text": "Popular now",
        },
    ],
}

RECOMMENDATIONS: Final = Example(
    request={
        "user": {"user_id": "u-17", "session_id": "s-3"},
        "consent": {"personalization": True},
        "placements": [
            {
                "placement": "for_you",
                "k": 8,
                "filter": {"category": "Home > Kitchen", "price": {"max": 50}},
                "exclude": ["sku-9"],
                "boost": [{"where": {"brand": "Harbour"}, "factor": 1.5}],
                "pin": [{"item_id": "sku-4", "position": 0}],
                "quota": [{"where": {"attributes": {"organic": True}}, "at_least": 1}],
                "diversity": [{"per": "brand", "at_most": 2}],
            },
            {"placement": "bought_together", "k": 4, "items": ["sku-1"]},
        ],
        "diagnostics": False,
        "continue_from": [],
        "context": {"country": "NL", "device": "mobile"},
        "explain": True,
        "language": "en",
        "social_proof": True,
        "fields": ["title", "price"],
    },
    answer={
        **_ANSWER,
        "placements": [
            {
                "placement": "for_you",
                "level": "individual",
                "fallback": None,
                "items": [
                    {
                        "item_id": "sku-4",
                        "score": 0.91,
                        "source": "als",
                        "source_text": "fits your taste",
                        "position": 0,
                        "reasons": [
                            {
                                "code": "viewed",
                                "text": "because you looked at Coffee mug",
                                "share": 0.7,
                                "item_id": "sku-1",
                            }
                        ],
                        "social_proof": {
                            "as_of": "2026-11-21T03:15:00Z",
                            "customers": 212,
                            "days": 30,
                        },
                        "title": "Coffee beans 500 g",
                        "price": 8.5,
                    }
                ],
            },
            {"placement": "bought_together", "level": None, "fallback": None, "items": []},
        ],
    },
)
RERANK: Final = Example(
    request={
        "user": {"user_id": "u-17"},
        "query": "coffee",
        "items": [{"item_id": "sku-1", "score": 9.1}, {"item_id": "sku-2", "score": 8.7}],
    },
    answer=_ORDER,
)
RERANK_ELASTICSEARCH: Final = Example(
    request={
        "user": {"user_id": "u-17"},
        "query": "coffee",
        "response": {
            "took": 3,
            "timed_out": False,
            "hits": {
                "total": {"value": 2, "relation": "eq"},
                "max_score": 9.1,
                "hits": [
                    {"_index": "products", "_id": "sku-1", "_score": 9.1},
                    {"_index": "products", "_id": "sku-2", "_score": 8.7},
                ],
            },
        },
    },
    answer={
        "took": 3,
        "timed_out": False,
        "hits": {
            "total": {"value": 2, "relation": "eq"},
            "max_score": 9.1,
            "hits": [
                {"_index": "products", "_id": "sku-2", "_score": 8.7},
                {"_index": "products", "_id": "sku-1", "_score": 9.1},
            ],
        },
        "_recsys": _ORDER,
    },
)
EVENTS: Final = Example(
    request={
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
    answer=_ONE_ACCEPTED,
)
GA4_EVENTS: Final = Example(
    request={
        "client_id": "1826873915.1795291200",
        "user_id": "u-17",
        "consent": {"ad_user_data": "GRANTED", "ad_personalization": "GRANTED"},
        "events": [
            {
                "name": "add_to_cart",
                "params": {
                    "session_id": "1795291200",
                    "currency": "EUR",
                    "items": [{"item_id": "sku-1", "price": 9.95, "quantity": 1}],
                },
            }
        ],
    },
    answer=_ONE_ACCEPTED,
)
SEGMENT_EVENTS: Final = Example(
    request={
        "batch": [
            {
                "type": "track",
                "event": "Product Viewed",
                "messageId": "ajs-022bb90c",
                "userId": "u-17",
                "anonymousId": "a-9",
                "properties": {"product_id": "sku-1", "price": 9.95},
                "context": {"consent": {"categoryPreferences": {"Personalization": True}}},
            }
        ]
    },
    answer=_ONE_ACCEPTED,
)
ITEMS: Final = Example(
    request={
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
    answer=_TWO_ACCEPTED,
)
STOCK: Final = Example(
    request={"items": [{"item_id": "sku-1", "stock": 0}, {"item_id": "sku-2", "price": 8.5}]},
    answer={
        "results": [
            {"id": "sku-1", "status": "accepted"},
            {
                "id": "sku-2",
                "status": "rejected",
                "field": "item_id",
                "reason": "item_id is not in the catalogue; put the item first",
            },
        ],
        "accepted": 1,
        "rejected": 1,
    },
)
PROFILES: Final = Example(
    request={
        "profiles": [{"user_id": "u-17", "country": "NL", "consent": {"personalization": True}}]
    },
    answer={
        "results": [{"id": "u-17", "status": "accepted"}],
        "accepted": 1,
        "rejected": 0,
    },
)
FEEDBACK: Final = Example(
    request={
        "user": {"user_id": "u-17"},
        "action": "not_interested",
        "brand": "Harbour",
        "consent": {"personalization": True},
    },
    answer={
        "event_id": "f-5a1c0e7f9b3d2468ace01357",
        "status": "accepted",
        "in_force": True,
    },
)
PREFERENCES: Final = Example(
    request={
        "user": {"user_id": "u-17"},
        "interests": {"categories": [["Home", "Kitchen"]], "brands": ["Quay"]},
        "exclusions": {"items": ["sku-9"], "brands": ["Harbour"]},
        "order": "own",
        "consent": {"personalization": True},
    },
    answer={**_PREFERENCES, "in_force": True},
)
READ_PREFERENCES: Final = Example(
    request={"user": {"user_id": "u-17"}},
    answer=_PREFERENCES,
)
EXPORT: Final = Example(
    request={"user": {"user_id": "u-17"}, "limit": 100},
    answer={
        "records": [
            {
                "place": "history",
                "item_id": "sku-1",
                "kind": "view_item",
                "time": 1795292100.0,
                "session_id": "s-3",
            }
        ],
        "next": None,
    },
)
ERASE: Final = Example(
    request={"user": {"user_id": "u-99"}},
    answer={
        "receipt": "x-5a1c0e7f9b3d2468ace01357",
        "erased_at": "2026-11-21T20:16:00.000+00:00",
        "removed": {
            "history": 212,
            "account": 0,
            "waiting": 4,
            "profiles": 1,
            "identities": 2,
            "answers": 31,
            "rejected_lines": 0,
        },
        "event_log": {"state": "pending", "rows": None, "done_at": None},
        "bundles": [{"model_version": "20261121T0315-1f3a", "holds_rows": False, "served": True}],
        "model_registry": "No version in MLflow holds rows of persons.",
        "remaining": ["event log: its rows are removed by the next `recsys nightly`"],
        "verify": "POST /v1/privacy/export has no record left once event_log.state is done",
    },
)
EXPERIMENTS: Final = Example(
    request=None,
    answer={
        "experiment": "autumn",
        "started_at": "2026-11-20T09:00:00Z",
        "variants": [
            {"name": "champion", "model_version": "20261121T0315-1f3a", "share": 0.9},
            {"name": "challenger", "model_version": "20261119T0315-9c02", "share": 0.1},
        ],
    },
)
KPI: Final = Example(
    request=None,
    answer={
        "as_of": "2026-11-21T20:15:00Z",
        "since": "2026-11-15T00:00:00Z",
        "placements": [
            {
                "date": "2026-11-21",
                "placement": "for_you",
                "lists": 5120,
                "persons": 1904,
                "seen": 3218,
                "clicked": 433,
                "carted": 121,
                "bought": 64,
                "revenue": 1890.4,
                "click_rate": 0.0846,
                "conversion": 0.0125,
            }
        ],
        "days": [
            {
                "date": "2026-11-21",
                "persons": 1904,
                "returning": 811,
                "orders": 96,
                "revenue": 3310.85,
                "order_value": 34.49,
            }
        ],
        "experiment": None,
    },
)
LIVE: Final = Example(
    request=None,
    answer={"status": "alive"},
)
READY: Final = Example(
    request=None,
    answer={"status": "ready", "model_versions": {"champion": "20261121T0315-1f3a"}},
)

PROBLEM: Final[Body] = {
    "type": "urn:recsys:problem:invalid-request",
    "title": "The request breaks a documented rule",
    "status": 422,
    "detail": "placements[0].k: expected `int` >= 1",
    "errors": [{"field": "placements[0].k", "value": "0", "remedy": "expected int >= 1"}],
}
