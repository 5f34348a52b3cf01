"""The service under swaps, overload, a locked store, a kill and a stop, over HTTP."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_service import Service, patient_config

from tests.benchmarks import resilience
from tests.benchmarks.load import drive, request

CLIENTS = 8
ANSWERED_BEFORE_STOP = 100
CONFIG = """
bundle_poll_seconds: 0.1
refused_retry_seconds: 60
store_write_seconds: 0.5
request_seconds: 1.0
queue_ms: 50
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers over a small bundle, swift to see a new one."""
    workspace = tmp_path_factory.mktemp("operations")
    resilience.publish(workspace, "a-first")
    config = workspace / "serving.yaml"
    config.write_text(CONFIG)
    with Service.start(workspace, workers=2, config=config) as service:
        yield service


def log_lines(service: Service) -> list[dict[str, Any]]:
    text = (service.workspace / "service.log").read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def metric(service: Service, name: str) -> float:
    text = service.get("/metrics").text
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith((f"{name} ", f"{name}{{"))
    )


def test_a_request_leaves_one_line_without_a_value_of_the_person(service: Service) -> None:
    answer = service.post(
        "/v1/recommendations",
        json={
            "user": {"user_id": "somebody-in-particular", "session_id": "a-visit-of-theirs"},
            "consent": {"personalization": True},
            "placements": [{"placement": "for_you"}, {"placement": "similar"}],
            "context": {"search_term": "what they searched for"},
        },
    ).json()

    def lines() -> list[dict[str, Any]]:
        id = answer["recommendation_id"]
        return [line for line in log_lines(service) if line.get("recommendation_id") == id]

    service.wait_until(lambda: bool(lines()))
    (line,) = lines()
    assert line["route"] == "/v1/recommendations"
    assert (line["status"], line["method"], line["level"]) == (200, "POST", "INFO")
    assert line["ms"] > 0
    assert [entry["placement"] for entry in line["lists"]] == ["for_you", "similar"]
    assert line["lists"][0]["level"] == "everybody"
    assert line["variant"] == "champion"
    assert line["model_version"] == "a-first"
    assert line["degraded"] is False
    text = (service.workspace / "service.log").read_text()
    assert "somebody-in" not in text
    assert "visit-of" not in text
    assert "searched for" not in text


def test_metrics_tell_latency_and_count_by_route_placement_variant_and_level(
    service: Service,
) -> None:
    service.post(
        "/v1/recommendations",
        json={"placements": [{"placement": "for_you"}]},
    ).raise_for_status()
    events = [*resilience.events_of("counted"), {"event_id": "bad"}]
    service.post("/v1/events", json={"events": events}).raise_for_status()
    text = service.get("/metrics").text
    labels = 'level="everybody",placement="for_you",route="/v1/recommendations",variant="champion"'
    assert f"recsys_list_seconds_count{{{labels}}}" in text
    assert 'recsys_model_age_seconds{variant="champion"}' in text
    assert 'recsys_events_total{status="accepted"} 3.0' in text
    assert 'recsys_events_total{status="rejected"} 1.0' in text
    assert "# TYPE recsys_shed_requests_total" in text
    assert "# TYPE recsys_degraded_answers_total" in text


def test_swaps_under_load_fail_no_request_and_mix_no_versions(service: Service) -> None:
    load, seen = resilience.swap_under_load(service, swaps=6)
    assert set(load.statuses) == {200}
    assert load.broken == 0
    assert seen.mixed == 0
    assert len(seen.versions) >= 6


def test_a_damaged_bundle_is_refused_and_the_version_before_stays(service: Service) -> None:
    before = service.get("/readyz").json()["model_versions"]
    refused = metric(service, "recsys_bundles_refused_total")
    # Made elsewhere, so that no worker can see it whole.
    elsewhere = service.workspace / "elsewhere"
    resilience.publish(elsewhere, "b-damaged")
    made = elsewhere / "published" / "bundles" / "b-damaged"
    factors = made / "models" / "als" / "item_factors.npy"
    factors.write_bytes(factors.read_bytes()[:-1] + b"\x01")
    made.rename(service.workspace / "published" / "bundles" / "b-damaged")
    resilience.publish(service.workspace, "b-damaged")
    service.wait_until(lambda: metric(service, "recsys_bundles_refused_total") >= refused + 2)
    assert service.get("/readyz").json()["model_versions"] == before
    answer = service.post("/v1/recommendations", json={"placements": [{"placement": "for_you"}]})
    assert answer.json()["model_version"] == before["champion"]


def test_while_the_store_is_locked_pages_are_degraded_and_events_refused(
    service: Service,
) -> None:
    pages, pages_seen, events, events_seen = resilience.lock_under_load(service, seconds=3.0)
    assert set(pages.statuses) == {200}
    assert pages.broken == 0
    # Each worker asks the store now and then whether it is back; all else goes without it.
    assert pages_seen.degraded > 0.9 * pages.statuses[200]
    assert set(events.statuses) <= {200, 503}
    assert events.statuses[503] > 0
    assert events_seen.acknowledged <= resilience.stored_ids(service.workspace)

    def is_degraded() -> bool:
        body = {
            "user": {"user_id": "back-again"},
            "consent": {"personalization": True},
            "placements": [{"placement": "for_you"}],
        }
        degraded: bool = service.post("/v1/recommendations", json=body).json()["degraded"]
        return degraded

    service.wait_until(lambda: not is_degraded())


def test_a_burst_is_shed_early_with_retry_after(service: Service) -> None:
    shed = metric(service, "recsys_shed_requests_total")
    seen = resilience.Seen()
    load = asyncio.run(
        drive(
            service.port,
            resilience.pages(service.port),
            seconds=2.0,
            connections=400,
            seen=seen,
        )
    )
    assert set(load.statuses) == {200, 503}
    assert load.broken == 0
    assert seen.retry_after == load.statuses[503]
    assert metric(service, "recsys_shed_requests_total") - shed == load.statuses[503]
    assert service.get("/livez").status_code == httpx.codes.OK


def test_a_stopped_service_fails_no_request_and_loses_no_acknowledged_event(
    tmp_path: Path,
) -> None:
    resilience.publish(tmp_path, "a-first")
    config = patient_config(tmp_path, drain_seconds=3)
    seen = resilience.Seen()
    with Service.start(tmp_path, workers=1, config=config) as service:
        asked, answered = asyncio.run(talk_until_told(service, seen))
        assert service.wait() == 0
    assert asked == answered
    assert seen.ending == CLIENTS
    assert seen.acknowledged
    assert seen.acknowledged <= resilience.stored_ids(tmp_path)


async def talk_until_told(service: Service, seen: resilience.Seen) -> tuple[int, int]:
    """Clients that leave when an answer ends the connection; the service is told to stop once it
    has answered some. Gives how many requests were made and how many were answered."""
    asked = answered = 0

    async def talk(requests: Iterator[tuple[str, bytes]]) -> None:
        nonlocal asked, answered
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        ending = False
        while not ending:
            kind, content = next(requests)
            writer.write(content)
            asked += 1
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            answered += head.startswith(b"http/1.1 200")
            if answered == ANSWERED_BEFORE_STOP:
                service.process.send_signal(signal.SIGTERM)
            seen(kind, int(head[9:12]), head, body)
            ending = b"connection: close" in head
        writer.close()

    pages, events = resilience.pages(service.port), resilience.batches(service.port, "stop")
    await asyncio.gather(*(talk(pages if n % 2 else events) for n in range(CLIENTS)))
    return asked, answered


def test_no_acknowledged_event_is_lost_or_doubled_when_everything_is_killed(
    tmp_path: Path,
) -> None:
    resilience.publish(tmp_path, "a-first")
    acknowledged, lost, doubled = resilience.kill_while_sending(
        tmp_path, kills=1, start=start_patiently
    )
    assert acknowledged > 0
    assert (lost, doubled) == (0, 0)


def start_patiently(workspace: Path) -> Service:
    return Service.start(workspace, workers=2, config=patient_config(workspace))


def test_what_is_not_json_is_refused_and_logged_without_its_path(service: Service) -> None:
    service.get("/v1/user/somebody-else")
    service.wait_until(
        lambda: any(line.get("route") == "refused at the door" for line in log_lines(service))
    )
    assert "somebody-else" not in (service.workspace / "service.log").read_text()


def test_a_request_is_built_as_the_load_generator_sends_it() -> None:
    assert request(80, "/x", {"a": 1}).endswith(b'Content-Length: 7\r\n\r\n{"a":1}')
