"""The service as a shop meets it: a started process with two workers, over HTTP."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import psutil
import pytest
from built_once import bundle_built_once
from running_service import HANG_SECONDS, Service, patient_config

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Placement
from recsys.bundle.publication import Publication, Variant, bundle_directory, write_publication
from recsys.bundle.save_load import save_bundle
from recsys.dataset.training_data import TrainingData
from recsys.events.schema import parse_event
from recsys.models.registry import MODELS
from recsys.store.sqlite import SQLiteStore
from serving.client import Client, ServiceError

YES = {"personalization": True}
NO = {"personalization": False}
JSON = {"Content-Type": "application/json"}
BLENDS = {
    "for_you": {"random_walk": 1.0, "popularity": 0.01},
    "similar": {"item_item": 1.0, "content": 0.5},
    "bought_together": {"bought_together": 1.0},
    "trending": {"trending": 1.0},
    "recently_viewed": {"recent": 1.0},
    "rerank": {"random_walk": 1.0, "popularity": 0.1},
}


@pytest.fixture(scope="module")
def model(small_data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Models over the small synthetic shop."""
    return bundle_built_once(tmp_path_factory, "http-bundle", lambda: fitted(small_data))


def fitted(small_data: TrainingData) -> Bundle:
    rng = np.random.default_rng(0)
    families = {"popularity_by_country", *(name for blend in BLENDS.values() for name in blend)}
    return Bundle(
        manifest=Manifest(
            model_version="v1",
            as_of=small_data.as_of,
            window_from=small_data.as_of - timedelta(days=60),
            config_digest="small",
            code_revision="test",
            synthetic=True,
        ),
        items=small_data.items,
        catalog=small_data.catalog,
        models={
            name: MODELS[name].fit(small_data, MODELS[name].config(), rng=rng)
            for name in sorted(families)
        },
        placements={name: Placement(name=name, blend=blend) for name, blend in BLENDS.items()},
        weighting=small_data.weighting,
    )


def publish(workspace: Path, model: Bundle, version: str) -> None:
    root = workspace / "published"
    manifest = msgspec.structs.replace(model.manifest, model_version=version)
    save_bundle(replace(model, manifest=manifest), bundle_directory(root, version))
    champion = Variant(name="champion", model_version=version)
    write_publication(root, Publication(variants=[champion]))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, model: Bundle) -> Iterator[Service]:
    """Two workers over one workspace, for all tests of this file."""
    workspace = tmp_path_factory.mktemp("workspace")
    publish(workspace, model, "v1")
    with Service.start(workspace, workers=2, config=patient_config(workspace)) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with service.client() as client:
        yield client


def event(id: str, kind: str, *items: str, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": id,
        "event": kind,
        "timestamp": datetime.now(UTC).isoformat(),
        "items": [{"item_id": item} for item in items],
        "consent": YES,
        **fields,
    }


def list_for(service: Service, user: dict[str, str], **options: Any) -> list[str]:
    """The personal list over a connection of its own, so that any worker may answer."""
    with service.client() as client:
        answer = client.recommend(user, [{"placement": "for_you", "k": 8}], **options)
    return [item.item_id for item in answer.placements[0].items]


def test_an_acknowledged_event_changes_the_next_answer_of_every_worker(
    service: Service, client: Client, model: Bundle
) -> None:
    user = {"user_id": "first"}
    before = list_for(service, user)
    item = model.items.id(3)
    assert client.send_events([event("first-1", "purchase", item, **user)]).accepted == 1
    answers = [list_for(service, user) for _ in range(12)]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0] != before


def test_what_a_visitor_did_belongs_to_the_customer_who_logs_in(
    service: Service, client: Client, model: Bundle
) -> None:
    visitor, customer = {"anonymous_id": "visitor"}, {"user_id": "second"}
    client.send_events([event("second-1", "view_item", model.items.id(5), **visitor)])
    as_visitor = list_for(service, visitor)
    assert as_visitor != list_for(service, customer)
    client.send_events([event("second-2", "identify", **visitor, **customer)])
    assert list_for(service, customer) == as_visitor


def test_without_consent_nothing_of_the_person_is_stored_or_used(
    service: Service, client: Client, model: Bundle
) -> None:
    strangers = list_for(service, {})
    item = model.items.id(7)
    for person, consent in (("denier-7f3", NO), ("silent-7f3", None)):
        sent = event(f"e-{person[:6]}", "view_item", item, user_id=person, consent=consent)
        sent = {name: value for name, value in sent.items() if value is not None}
        assert client.send_events([sent]).accepted == 1
        assert list_for(service, {"user_id": person}) == strangers
        assert list_for(service, {"user_id": person}, consent=NO) == strangers
    for file in service.workspace.glob("store.sqlite*"):
        assert b"-7f3" not in file.read_bytes()


def test_a_change_of_stock_is_in_force_in_every_worker_soon(
    service: Service, client: Client, model: Bundle
) -> None:
    def best() -> set[str]:
        return {list_for(service, {})[0] for _ in range(10)}

    (sold_out,) = best()
    client.put_items([{"item_id": sold_out, "stock": 0}])
    service.wait_until(lambda: sold_out not in best())
    number = model.items.number(sold_out)
    assert number is not None
    client.put_items([msgspec.to_builtins(model.catalog.items[number])])
    service.wait_until(lambda: best() == {sold_out})


def test_a_published_version_is_taken_without_a_failed_request(
    service: Service, model: Bundle
) -> None:
    failures: list[str] = []
    versions: list[str] = []
    stopping = threading.Event()

    def ask() -> None:
        body = {"user": {"user_id": "first"}, "placements": [{"placement": "for_you"}]}
        while not stopping.is_set():
            answer = service.post("/v1/recommendations", json=body)
            if answer.status_code != 200 or not answer.json()["placements"][0]["items"]:
                failures.append(answer.text)
            else:
                versions.append(answer.json()["model_version"])

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        publish(service.workspace, model, "v2")
        service.wait_until(lambda: len(versions) > 30 and set(versions[-30:]) == {"v2"})
    finally:
        stopping.set()
        for thread in asking:
            thread.join()
    assert failures == []
    assert set(versions) == {"v1", "v2"}


GOOD = '{"placements": [{"placement": "for_you"}]}'
BAD_REQUESTS: list[tuple[str, str, dict[str, Any], int]] = [
    ("POST", "/v1/recommendations", {"content": "{", "headers": JSON}, 400),
    ("POST", "/v1/recommendations", {"content": "", "headers": JSON}, 400),
    ("POST", "/v1/recommendations", {"content": b"\xff\xfe", "headers": JSON}, 400),
    ("POST", "/v1/recommendations", {"content": GOOD}, 415),
    ("POST", "/v1/recommendations", {"data": {"placements": "for_you"}}, 415),
    ("POST", "/v1/recommendations", {"files": {"placements": b"x"}}, 415),
    ("POST", "/v1/recommendations", {"json": {"placements": [{"placement": "x"}]}}, 422),
    ("POST", "/v1/recommendations", {"json": {"placements": [], "user": {}}}, 422),
    ("POST", "/v1/recommendations", {"json": {"placements": "for_you"}}, 422),
    (
        "POST",
        "/v1/recommendations",
        {"json": {"placements": [{"placement": "for_you", "k": 0}]}},
        422,
    ),
    ("POST", "/v1/recommendations", {"json": {"placement": "for_you"}}, 422),
    ("POST", "/v1/recommendations", {"json": ["for_you"]}, 422),
    ("POST", "/v1/recommendations", {"content": b" " * 10_000_000, "headers": JSON}, 413),
    ("POST", "/v1/rerank", {"json": {"items": []}}, 422),
    ("POST", "/v1/rerank", {"json": {"items": [{"item_id": "a"}] * 2}}, 422),
    ("POST", "/v1/rerank", {"json": {"items": [{"item_id": "a\x00"}]}}, 422),
    ("POST", "/v1/events", {"json": {"events": []}}, 422),
    ("POST", "/v1/events", {"json": {"events": [{}] * 501}}, 422),
    ("POST", "/v1/events", {"json": {"event": {}}}, 422),
    ("PUT", "/v1/events", {"json": {"events": [{}]}}, 405),
    ("PUT", "/v1/catalog/items", {"json": {"items": {}}}, 422),
    ("PUT", "/v1/profiles", {"content": "[" * 200_000, "headers": JSON}, 400),
    ("GET", "/v1/recommendations", {}, 405),
    ("GET", "/docs.json", {}, 404),
    ("GET", "/", {}, 404),
    ("GET", "/static_content/main.js", {}, 404),
    ("OPTIONS", "/v1/recommendations", {}, 405),
]


@pytest.mark.parametrize(("method", "path", "options", "status"), BAD_REQUESTS)
def test_bad_input_is_a_problem_and_never_the_services_fault(
    service: Service, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    answer = service.request(method, path, **options)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


def test_garbage_on_the_wire_harms_nobody(service: Service) -> None:
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 500\r\n\r\n{",
    ):
        with socket.create_connection(("127.0.0.1", service.port), timeout=HANG_SECONDS) as wire:
            wire.sendall(garbage)
            wire.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: wire.recv(65_536), b""))
        assert not answer.startswith(b"HTTP/1.1 5")
    assert service.get("/livez").status_code == 200


def test_the_client_tells_which_field_is_wrong(client: Client) -> None:
    with pytest.raises(ServiceError) as caught:
        client.recommend({}, [{"placement": "nowhere"}])
    assert caught.value.status == 422
    assert caught.value.errors[0].field == "placements[0].placement"


def test_the_client_reaches_every_route(client: Client, model: Bundle) -> None:
    ids = model.items.ids()[:3]
    ranked = client.rerank({}, [{"item_id": id} for id in ids], query="thing")
    assert {item.item_id for item in ranked.items} == set(ids)
    assert client.put_profiles([{"user_id": "p", "country": "NL", "consent": YES}]).accepted == 1
    assert client.put_items([{"item_id": "brand-new", "title": "New"}]).accepted == 1
    page = client.recommend(
        {"user_id": "p"},
        [{"placement": "bought_together", "items": ids[:1], "k": 3}],
        explain=True,
        fields=["title"],
    )
    assert all(item.reasons and item.title for item in page.placements[0].items)


def test_metrics_add_up_over_the_workers(service: Service) -> None:
    def count() -> float:
        text = service.get("/metrics").text
        wanted = 'recsys_answers_total{level="everybody",placement="trending",variant="champion"} '
        return float(next((x[len(wanted) :] for x in text.splitlines() if wanted in x), 0))

    before = count()
    for _ in range(20):
        body = {"placements": [{"placement": "trending", "k": 1}]}
        service.post("/v1/recommendations", json=body).raise_for_status()
    assert count() - before == 20


def test_after_a_worker_was_killed_the_other_answers(service: Service) -> None:
    killed, other = service.workers()
    killed.kill()
    with service.client() as client:
        for _ in range(5):
            answer = client.recommend({}, [{"placement": "for_you"}])
            assert answer.placements[0].items
    assert other.is_running()


def test_every_acknowledged_event_survives_a_kill_of_everything(
    service: Service, model: Bundle
) -> None:
    acknowledged: list[str] = []
    item = model.items.id(3)

    def send(name: str) -> None:
        with httpx.Client(base_url=service.url, timeout=60) as http:
            for number in range(100_000):
                id = f"{name}-{number}"
                body = {"events": [event(id, "view_item", item, user_id=name)]}
                try:
                    answer = http.post("/v1/events", json=body)
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    acknowledged.append(id)

    senders = [threading.Thread(target=send, args=(f"sender-{n}",)) for n in range(4)]
    for sender in senders:
        sender.start()
    service.wait_until(lambda: len(acknowledged) > 100)
    service.kill_everything()
    for sender in senders:
        sender.join()
    store = SQLiteStore(service.workspace / "store.sqlite")
    again = [parse_event(event(id, "view_item", item, user_id="again")) for id in acknowledged]
    known_already = [False] * len(acknowledged)
    assert store.append(again, received_at=datetime.now(UTC)) == known_already
    store.close()


ORPHAN = """
import os, subprocess, sys
watching = "import os, time; from serving.service import follow_parent;"
watching += "follow_parent(os.getppid()); print('watching', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", watching], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
os._exit(9)
"""


def test_a_worker_does_not_outlive_its_parent() -> None:
    parent = subprocess.run([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, check=False)
    try:
        psutil.Process(int(parent.stdout)).wait(HANG_SECONDS)
    except psutil.NoSuchProcess:
        return  # gone already


def test_a_stopped_service_finishes_its_requests_and_exits_with_its_answers_logged(
    tmp_path: Path, model: Bundle
) -> None:
    publish(tmp_path, model, "v1")
    body = msgspec.json.encode({"events": [event("in-flight", "view_item", model.items.id(0))]})
    head = (
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    config = patient_config(tmp_path, graceful_seconds=300)
    with (
        Service.start(tmp_path, workers=1, config=config) as service,
        service.client() as client,
        socket.create_connection(("127.0.0.1", service.port), timeout=HANG_SECONDS) as wire,
    ):
        wire.sendall(head.encode() + body[:10])
        given = client.recommend({}, [{"placement": "for_you"}])
        service.process.send_signal(signal.SIGTERM)
        service.wait_until(lambda: not client.ready())
        wire.sendall(body[10:])
        answer = b"".join(iter(lambda: wire.recv(65_536), b""))
        assert service.wait() == 0
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"accepted":1' in answer
    store = SQLiteStore(tmp_path / "store.sqlite")
    now = datetime.now(UTC)
    logged = store.answers(since=now - timedelta(hours=1), until=now + timedelta(hours=1))
    store.close()
    assert [answer.recommendation_id for answer in logged] == [given.recommendation_id]
    log = (tmp_path / "service.log").read_text()
    assert f"http://127.0.0.1:{service.port}" in log
    assert "Traceback" not in log
