"""The body of an Elasticsearch or OpenSearch answer: its items, and the same body reordered.

Pure functions on the decoded body, used by the route and by the client in a shop's process:

    items = items_of(response)
    answer = client.rerank({"user_id": "u-17"}, items, query="coffee")
    response = reordered(response, [item.item_id for item in answer.items])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from recsys.errors import InvalidInput
from serving.api.schemas import RerankAnswer

DOCUMENT_ID: Final = "_id"
"""The field of a hit that names its document."""


def items_of(response: Mapping[str, Any], *, id_field: str = DOCUMENT_ID) -> list[dict[str, Any]]:
    """The items of the hits in the engine's order, with its scores; each item once.

    `id_field` is `_id`, or a path in the hit's `_source` or `fields`. InvalidInput where the body
    is no search answer or a hit has no such id.
    """
    items: dict[str, dict[str, Any]] = {}
    for index, hit in enumerate(_hits(response)):
        id = _id(hit, index, id_field)
        score = hit.get("_score")
        scored = isinstance(score, int | float) and not isinstance(score, bool)
        items.setdefault(id, {"item_id": id, **({"score": score} if scored else {})})
    return list(items.values())


def reordered(
    response: Mapping[str, Any], item_ids: Sequence[str], *, id_field: str = DOCUMENT_ID
) -> dict[str, Any]:
    """The body with its hits in the order of the items; hits of one item stay together.

    Nothing else is changed, the scores neither; hits of other items come last, in their order.
    """
    index = {id: n for n, id in enumerate(item_ids)}
    hits = _hits(response)
    ids = [_id(hit, n, id_field) for n, hit in enumerate(hits)]
    order = sorted(range(len(hits)), key=lambda n: index.get(ids[n], len(index)))
    return {**response, "hits": {**response["hits"], "hits": [hits[n] for n in order]}}


def with_order(response: Mapping[str, Any], answer: RerankAnswer, id_field: str) -> dict[str, Any]:
    """The body in the order of an answer, with that answer beside the hits as `_recsys`."""
    ids = [item.item_id for item in answer.items]
    return {**reordered(response, ids, id_field=id_field), "_recsys": msgspec.to_builtins(answer)}


def _hits(response: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    outer = response.get("hits")
    hits = outer.get("hits") if isinstance(outer, Mapping) else None
    if not isinstance(hits, list):
        raise InvalidInput(
            "response.hits.hits", None, "send the body of a search answer, with its list of hits"
        )
    for index, hit in enumerate(hits):
        if not isinstance(hit, Mapping):
            raise InvalidInput(f"response.hits.hits[{index}]", hit, "a hit is an object")
    return hits


def _id(hit: Mapping[str, Any], index: int, field: str) -> str:
    value = hit.get(DOCUMENT_ID) if field == DOCUMENT_ID else _at(hit, field)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InvalidInput(
            f"response.hits.hits[{index}].{field}",
            value,
            "every hit names its item: name the field in id_field and ask the engine for it",
        )
    return value


def _at(hit: Mapping[str, Any], field: str) -> object:
    """The field of the document: under its whole name, else step by step, else of `fields`."""
    source = hit.get("_source")
    value: object = None
    if isinstance(source, Mapping):
        value = source.get(field)
        inner: object = source
        for step in field.split("."):
            inner = inner.get(step) if isinstance(inner, Mapping) else None
        value = inner if value is None else value
    fields = hit.get("fields")
    if value is None and isinstance(fields, Mapping):
        value = fields.get(field)
    return value[0] if isinstance(value, list) and value else value
