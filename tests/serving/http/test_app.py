"""The application in this process: routes, limits, problems, and that bad input is never a 5xx."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest

from recsys.events.schema import Person
from recsys.store.sqlite import SQLiteStore
from serving.api.openapi import document
from serving.api.problems import MEDIA_TYPE
from serving.api.routes import ROUTES, Route
from serving.config import ServingConfig
from serving.http.app import HANDLERS
from serving.worker import Worker

YES = {"personalization": True}
WITH_BODY = [route for route in ROUTES if route.takes_body]


class Shop:
    """A client of the application in this process, and the worker behind it."""

    def __init__(self, worker: Worker, runner: asyncio.Runner) -> None:
        self.worker = worker
        self._runner = runner

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.worker.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                return await http.request(method, path, **options)

        return self._runner.run(send())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.send("GET", path, **options)

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.send("POST", path, json=body)

    def events(self, *events: dict[str, Any]) -> Any:
        return self.post("/v1/events", {"events": list(events)})

    def ids(self, user: dict[str, str], placement: str = "for_you", k: int = 5) -> list[str]:
        body = {"user": user, "placements": [{"placement": placement, "k": k}]}
        answer = self.post("/v1/recommendations", body).json()
        return [item["item_id"] for item in answer["placements"][0]["items"]]


@pytest.fixture
def config(tmp_path: Path) -> ServingConfig:
    return ServingConfig(workspace=tmp_path, bundle_poll_seconds=0.05, catalog_poll_seconds=0.05)


@pytest.fixture
def shop(config: ServingConfig, publish: Callable[..., None]) -> Iterator[Shop]:
    """A worker with the bundle in service."""
    publish(config.published_root, "v1")
    yield from opened(config)


@pytest.fixture(scope="module")
def standing_shop(
    tmp_path_factory: pytest.TempPathFactory, publish: Callable[..., None]
) -> Iterator[Shop]:
    """One worker for all tests that send it things which it must outlive."""
    config = ServingConfig(workspace=tmp_path_factory.mktemp("standing"))
    publish(config.published_root, "v1")
    yield from opened(config)


def opened(config: ServingConfig) -> Iterator[Shop]:
    worker = Worker.open(config)
    with asyncio.Runner() as runner:
        try:
            yield Shop(worker, runner)
        finally:
            runner.run(worker.close())


def event(id: str, kind: str = "view_item", *items: str, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": id,
        "event": kind,
        "timestamp": datetime.now(UTC).isoformat(),
        "user_id": "u",
        "items": [{"item_id": item} for item in items],
        "consent": YES,
        **fields,
    }


def test_an_acknowledged_event_changes_the_next_answer(shop: Shop) -> None:
    before = shop.ids({"user_id": "u"})
    assert shop.events(event("1", "view_item", "tea-05")).json()["accepted"] == 1
    after = shop.ids({"user_id": "u"})
    assert after != before
    assert all(id == "star" or id.startswith("tea") for id in after)


def test_a_batch_is_answered_event_by_event_and_the_good_ones_are_stored(shop: Shop) -> None:
    late = (datetime.now(UTC) - timedelta(days=400)).isoformat()
    batch = [
        event("good", "view_item", "tea-05"),
        event("wrong-type", "view_item", "tea-06", user_id=7),
        event("nul", "view_item", "tea\x00"),
        event("negative", "purchase", items=[{"item_id": "tea-07", "price": -1}]),
        event("late", "view_item", "tea-08", timestamp=late),
        event("extra", "view_item", "tea-09", colour="red"),
        event("kind", "stare", "tea-10"),
        event("good", "view_item", "tea-05"),
        ["not an event"],
    ]
    answer = shop.post("/v1/events", {"events": batch})
    assert answer.status_code == 200
    results = answer.json()["results"]
    outcomes = [(result["event_id"], result["status"], result.get("field")) for result in results]
    assert outcomes == [
        ("good", "accepted", None),
        ("wrong-type", "rejected", "user_id"),
        ("nul", "rejected", "items[0].item_id"),
        ("negative", "rejected", "items[0].price"),
        ("late", "rejected", "timestamp"),
        ("extra", "rejected", "colour"),
        ("kind", "rejected", "event"),
        ("good", "duplicate", None),
        (None, "rejected", "event"),
    ]
    assert all(result["reason"] for result in results if result["status"] == "rejected")
    assert {key: answer.json()[key] for key in ("accepted", "duplicates", "rejected")} == {
        "accepted": 1,
        "duplicates": 1,
        "rejected": 7,
    }
    history = shop.worker.state.store.person(Person("u", None)).history
    assert [stored.item_id for stored in history] == ["tea-05"]


DEEP = "[" * 50_000 + "]" * 50_000
RECOMMEND = "/v1/recommendations"
ONE = {"placements": [{"placement": "for_you"}]}

BAD_BODIES = [
    (RECOMMEND, "{", 400, "body"),
    (RECOMMEND, "", 400, "body"),
    (RECOMMEND, "[]", 422, "body"),
    (RECOMMEND, "null", 422, "body"),
    (RECOMMEND, b'{"placements": "\xff"}', 400, "body"),
    (RECOMMEND, DEEP, None, None),
    (RECOMMEND, {}, 422, "placements"),
    (RECOMMEND, {"placements": []}, 422, "placements"),
    (RECOMMEND, {"placements": [{"placement": "nowhere"}]}, 422, "placements[0].placement"),
    (RECOMMEND, {"placements": [{"placement": "rerank"}]}, 422, "placements[0].placement"),
    (RECOMMEND, {"placements": [{"placement": "for_you", "k": 0}]}, 422, "placements[0].k"),
    (RECOMMEND, {"placements": [{"placement": "for_you", "k": 101}]}, 422, "placements[0].k"),
    (RECOMMEND, {"placements": [{"placement": "for_you", "k": 1.5}]}, 422, "placements[0].k"),
    (RECOMMEND, {"placements": [{"placement": "for_you"}] * 11}, 422, "placements"),
    (RECOMMEND, {**ONE, "colour": "red"}, 422, "colour"),
    (RECOMMEND, {**ONE, "user": {"user_id": "a\x00b"}}, 422, "user.user_id"),
    (RECOMMEND, {**ONE, "user": {"user_id": ""}}, 422, "user.user_id"),
    (RECOMMEND, {**ONE, "user": {"user_id": "x" * 129}}, 422, "user.user_id"),
    (RECOMMEND, {**ONE, "user": {"name": "Eve"}}, 422, "user.name"),
    (RECOMMEND, {**ONE, "consent": {}}, 422, "consent.personalization"),
    (RECOMMEND, {**ONE, "consent": {"personalization": "yes"}}, 422, "consent.personalization"),
    (RECOMMEND, {**ONE, "context": {"hour": 24}}, 422, "context.hour"),
    (RECOMMEND, {**ONE, "fields": ["stock"]}, 422, "fields[0]"),
    (RECOMMEND, '{"placements": [{"placement": "\\ud800"}]}', 400, "body"),
    ("/v1/rerank", {"items": []}, 422, "items"),
    ("/v1/rerank", {"items": [{"item_id": "a"}, {"item_id": "a"}]}, 422, "items[1].item_id"),
    ("/v1/rerank", {"items": [{"item_id": "a", "score": 1e300}]}, 422, "items[0].score"),
    ("/v1/rerank", {"items": [{"item_id": str(n)} for n in range(1001)]}, 422, "items"),
    ("/v1/rerank", '{"items": [{"item_id": "a", "score": 1e999}]}', None, None),
    ("/v1/events", {"events": []}, 422, "events"),
    ("/v1/events", {"events": [{}] * 501}, 422, "events"),
    ("/v1/events", {"events": {}}, 422, "events"),
    ("/v1/events", '{"events": [' + DEEP + "]}", None, None),
]


@pytest.mark.parametrize(("path", "body", "status", "field"), BAD_BODIES)
def test_a_bad_body_is_a_problem_that_names_field_and_remedy(
    standing_shop: Shop, path: str, body: Any, status: int | None, field: str | None
) -> None:
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    answer = standing_shop.send(
        "POST", path, content=content, headers={"Content-Type": "application/json"}
    )
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem = answer.json()
    assert {"type", "title", "status", "detail", "errors"} <= problem.keys()
    assert problem["errors"][0]["remedy"]
    if status is not None:
        assert (answer.status_code, problem["errors"][0]["field"]) == (status, field)


ENTRIES = [
    '{"event_id": "x", "items": ' + DEEP + "}",
    DEEP,
    "1e999",
    "null",
    '"\\ud800"',
    '{"event_id": "\\ud800"}',
    '{"event_id": "x", "event": "view_item", "timestamp": "9999-12-31T23:59:59-14:00", '
    '"items": [{"item_id": "a"}]}',
    '{"event_id": "x", "event": "view_item", "timestamp": "0001-01-01T00:00:00+14:00", '
    '"items": [{"item_id": "a"}]}',
    '{"item_id": "x", "stock": -1}',
    '{"item_id": "x", "available_from": "0001-01-01T00:00:00"}',
    '{"user_id": "x", "traits": {"a": []}}',
]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/events", "events"),
        ("PUT", "/v1/catalog/items", "items"),
        ("PUT", "/v1/profiles", "profiles"),
    ],
)
def test_a_bad_entry_is_rejected_or_the_body_refused_but_the_service_stands(
    standing_shop: Shop, method: str, path: str, name: str, entry: str
) -> None:
    answer = standing_shop.send(
        method,
        path,
        content=f'{{"{name}": [{entry}]}}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code < 500
    if answer.status_code == 200:
        (result,) = answer.json()["results"]
        assert result["status"] == "rejected"
        assert result["reason"]
        if not entry.startswith("{"):
            assert result["field"] == name.removesuffix("s")


def test_only_json_of_limited_size_is_read(standing_shop: Shop) -> None:
    def send(content: bytes, **headers: str) -> int:
        return standing_shop.send("POST", RECOMMEND, content=content, headers=headers).status_code

    assert send(b"{}", **{"Content-Type": "text/plain"}) == 415
    assert send(b"{}", **{"Content-Type": "application/x-www-form-urlencoded"}) == 415
    assert send(b"{}") == 415
    assert send(b"{}", **{"Content-Type": "application/json", "Content-Encoding": "gzip"}) == 415
    assert send(b" " * 300_000, **{"Content-Type": "application/json"}) == 413
    assert send(b"{}", **{"Content-Type": "application/json; charset=utf-8"}) == 422


def test_a_body_without_a_stated_length_is_cut_at_the_limit(standing_shop: Shop) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    answer = standing_shop.send(
        "POST", RECOMMEND, content=chunks(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs.json",
        "/schema.json",
        "/healthz",
        "/v1",
        "/v1/recommendations/",
        "//livez",
        "/%00",
    ],
)
def test_other_paths_do_not_exist(standing_shop: Shop, path: str) -> None:
    answer = standing_shop.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == MEDIA_TYPE


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_another_method_is_refused_with_the_right_one(standing_shop: Shop, method: str) -> None:
    answer = standing_shop.send(method, RECOMMEND)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_with_a_key_only_the_health_routes_are_open(
    config: ServingConfig, publish: Callable[..., None]
) -> None:
    publish(config.published_root, "v1")
    locked = ServingConfig.model_validate({**config.model_dump(), "api_key": "s3cret"})
    for shop in opened(locked):
        get = shop.get
        assert [get(path).status_code for path in ("/livez", "/readyz")] == [200, 200]
        assert [get(path).status_code for path in ("/metrics", "/openapi.json")] == [401, 401]
        assert shop.post(RECOMMEND, ONE).status_code == 401
        for headers in (
            {"X-API-Key": "wrong"},
            {"X-API-Key": ""},
            {"Authorization": "Basic s3cret"},
            {"Authorization": "Bearer"},
        ):
            assert get("/metrics", headers=headers).status_code == 401
        assert get("/metrics", headers={"X-API-Key": "s3cret"}).status_code == 200
        assert get("/metrics", headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_without_a_key_only_the_names_of_this_machine_are_served(standing_shop: Shop) -> None:
    def status(host: str) -> int:
        return standing_shop.get("/livez", headers={"Host": host}).status_code

    for host in ("127.0.0.1", "127.0.0.1:3000", "localhost:3000", "LOCALHOST", "[::1]", "[::1]:80"):
        assert status(host) == 200
    for other in ("evil.example", "evil.example:3000", "10.0.0.1:3000", "", "::", "127.0.0.1.evil"):
        assert status(other) == 421


def test_a_store_that_is_locked_for_long_is_a_503_and_not_a_wait(
    config: ServingConfig, publish: Callable[..., None]
) -> None:
    publish(config.published_root, "v1")
    hurried = config.model_copy(update={"request_seconds": 0.2})
    for shop in opened(hurried):
        other = apsw.Connection(str(config.store_path))
        other.execute("BEGIN IMMEDIATE")
        waited = shop.events(event("1", "view_item", "tea-05"))
        put = shop.send("PUT", "/v1/catalog/items", json={"items": [{"item_id": "star"}]})
        other.execute("ROLLBACK")
        other.close()
        assert [answer.status_code for answer in (waited, put)] == [503, 503]
        assert waited.headers["retry-after"] == "5"


def test_an_item_that_is_put_is_in_force_at_once(shop: Shop) -> None:
    assert "star" in shop.ids({}, "trending", k=100)
    body = {"items": [{"item_id": "star", "stock": 0}, {"item_id": "new", "price": "cheap"}]}
    answer = shop.send("PUT", "/v1/catalog/items", json=body).json()
    assert [(result["id"], result["status"]) for result in answer["results"]] == [
        ("star", "accepted"),
        ("new", "rejected"),
    ]
    assert answer["results"][1]["field"] == "price"
    assert "star" not in shop.ids({}, "trending", k=100)


def test_a_profile_declares_country_and_consent(shop: Shop) -> None:
    shop.events(event("1", "view_item", "tea-05"))
    personal = shop.ids({"user_id": "u"})
    refuse = {"user_id": "u", "consent": {"personalization": False}}
    answer = shop.send("PUT", "/v1/profiles", json={"profiles": [refuse, {"country": "NL"}]}).json()
    assert (answer["accepted"], answer["rejected"]) == (1, 1)
    assert shop.ids({"user_id": "u"}) != personal
    assert shop.ids({"user_id": "u"}) == shop.ids({})


def test_before_anything_is_published_the_service_lives_but_is_not_ready(
    config: ServingConfig,
) -> None:
    for shop in opened(config):
        assert shop.get("/livez").status_code == 200
        for answer in (shop.get("/readyz"), shop.post(RECOMMEND, ONE)):
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert answer.headers["content-type"] == MEDIA_TYPE
        assert shop.events(event("1", "view_item", "tea-05")).json()["accepted"] == 1


def test_without_the_store_events_are_not_acknowledged_and_answers_are_degraded(
    shop: Shop,
) -> None:
    shop.worker.state.store.close()
    refused = shop.events(event("1", "view_item", "tea-05"))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    body = {"user": {"user_id": "u"}, "consent": YES, **ONE}
    answer = shop.post(RECOMMEND, body)
    assert answer.status_code == 200
    assert answer.json()["degraded"] is True
    assert answer.json()["placements"][0]["items"]


def test_answers_are_in_the_store_after_the_worker_has_stopped(
    config: ServingConfig, publish: Callable[..., None]
) -> None:
    publish(config.published_root, "v1")
    for shop in opened(config):
        given = shop.post(RECOMMEND, ONE).json()
    store = SQLiteStore(config.store_path)
    now = datetime.now(UTC)
    (logged,) = store.answers(since=now - timedelta(hours=1), until=now + timedelta(hours=1))
    store.close()
    assert logged.recommendation_id == given["recommendation_id"]
    shown = [item["item_id"] for item in given["placements"][0]["items"]]
    assert list(logged.item_ids) == shown


def test_metrics_count_by_route_placement_and_level_and_name_nobody(shop: Shop) -> None:
    shop.events(event("secret-event", "view_item", "tea-05", user_id="secret-user"))
    shop.ids({"user_id": "secret-user"})
    shop.get("/no/such/path/secret-path")
    text = shop.get("/metrics").text
    assert 'recsys_requests_total{route="/v1/recommendations",status="200"} 1.0' in text
    assert (
        'recsys_answers_total{level="individual",placement="for_you",variant="champion"} 1.0'
        in text
    )
    assert 'recsys_events_total{status="accepted"} 1.0' in text
    assert "secret" not in text


def test_the_openapi_document_is_served_and_describes_every_route(standing_shop: Shop) -> None:
    served = standing_shop.get("/openapi.json").json()
    assert served == document()
    assert served["openapi"].startswith("3.1")
    described = {(path, method) for path, methods in served["paths"].items() for method in methods}
    assert described == {(route.path, route.method.lower()) for route in ROUTES}
    text = json.dumps(served)
    references = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert references <= served["components"]["schemas"].keys()


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.path)
def test_the_examples_of_the_openapi_document_are_accepted(
    standing_shop: Shop, route: Route[Any, Any]
) -> None:
    answer = standing_shop.send(route.method, route.path, json=route.example.request)
    assert answer.status_code == 200, answer.text


def test_every_route_has_a_handler_and_every_handler_a_route() -> None:
    assert set(HANDLERS) == set(ROUTES)
