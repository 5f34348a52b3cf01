"""/openapi.json describes what the routes take and give, and its examples are such."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec
import pytest

from serving.api.openapi import OPENAPI_JSON
from serving.api.routes import ROUTES

DOCUMENT: dict[str, Any] = msgspec.json.decode(OPENAPI_JSON)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


def contents(operation: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything that the operation takes or gives: schema and example."""
    asked = operation.get("requestBody", {}).get("content", {})
    given = [answer["content"] for answer in operation["responses"].values()]
    return [content for kinds in (asked, *given) for content in kinds.values()]


def test_every_route_is_described_and_no_other() -> None:
    described = {(path, method.upper()) for path, method, _ in operations()}
    assert described == {(route.path, route.method) for route in ROUTES}


@pytest.mark.parametrize(("path", "method", "operation"), operations())
def test_every_example_fits_its_schema(path: str, method: str, operation: dict[str, Any]) -> None:
    for content in contents(operation):
        schema = {**content["schema"], "components": DOCUMENT["components"]}
        if "example" in content:
            jsonschema_rs.validate(schema, content["example"])


@pytest.mark.parametrize(("path", "method", "operation"), operations())
def test_every_route_has_examples_of_request_and_answer(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    shown = [content for content in contents(operation) if "example" in content]
    if path not in ("/metrics", "/openapi.json"):
        assert len(shown) == len(contents(operation))
    assert "example" in operation["responses"]["503"]["content"]["application/problem+json"]


def test_every_component_is_referred_to_and_every_reference_leads_somewhere() -> None:
    text = OPENAPI_JSON.decode()
    for name in DOCUMENT["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text, name
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.partition('"')[0] in DOCUMENT["components"]["schemas"]
