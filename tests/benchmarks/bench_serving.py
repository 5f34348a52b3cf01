"""The service on one worker: full answers per second, their slowest hundredth, durable events.

The peer is BentoML itself, as it comes: one worker of a service that returns a ready answer of the
same size. Both are asked by the same client over 16 kept-alive connections. Run alone:

    python -m tests.benchmarks.bench_serving
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from recsys.bundle import Bundle, Manifest, save_bundle
from recsys.event_log import EventLog
from recsys.event_log import rows as log_rows
from recsys.events import Consent, Event, EventItem
from recsys.models import MODELS
from recsys.placements import DEFAULT_PLACEMENTS
from recsys.publication import Publication, Variant, bundle_directory, write_publication
from recsys.store.sqlite import SQLiteStore
from recsys.synthetic import ShopConfig, make_shop, simulate
from recsys.training_data import read_training_data
from recsys.weighting import Weighting

SHOP = ShopConfig(items=2_000, customers=1_000, days=60)
CONNECTIONS = 16
SECONDS = 6.0
HISTORY = 50
"""Events of each customer who asks."""
BATCH = 32

NO_OP = """
import bentoml

@bentoml.service(name="no_op", workers=1)
class NoOp:
    @bentoml.api(route="/answer")
    async def answer(self, user: str) -> dict:
        return {"items": [{"item_id": f"item-{n}", "score": 0.5, "source": "x"} for n in range(10)]}
"""

Row = dict[str, Any]


def rows() -> dict[str, Row]:
    """Name → {value, unit, peer, ratio}: the peer is bare BentoML in the same run."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        customers, items = make_workspace(workspace)
        with serving(workspace) as port:
            asking = [request(port, "/v1/recommendations", ask(who)) for who in customers]
            measure(port, asking, seconds=1.0)
            ours = measure(port, asking, seconds=SECONDS)
            listing = [request(port, "/v1/rerank", page(who, items)) for who in customers]
            reranked = measure(port, listing, seconds=SECONDS / 2)
            batches = (request(port, "/v1/events", batch(n, items)) for n in itertools.count())
            events = measure(port, batches, seconds=SECONDS / 2)
            lag = event_to_answer(port, customers, items)
        with no_op(workspace) as port:
            asking = [request(port, "/answer", {"user": who}) for who in customers]
            measure(port, asking, seconds=1.0)
            peer = measure(port, asking, seconds=SECONDS)
    return {
        "recommendations_per_second": row(ours.per_second, "req/s", peer.per_second),
        "recommendations_p50": row(ours.p50, "ms", peer.p50),
        "recommendations_p99": row(ours.p99, "ms", peer.p99),
        "rerank_50_per_second": row(reranked.per_second, "req/s", peer.per_second),
        "durable_events_per_second": row(events.per_second * BATCH, "events/s", None),
        "event_to_next_answer_p95": row(lag, "ms", None),
    }


def row(value: float, unit: str, peer: float | None) -> Row:
    """One line of the table; the ratio is value / peer."""
    return {
        "value": round(value, 2),
        "unit": unit,
        "peer": None if peer is None else round(peer, 2),
        "ratio": None if not peer else round(value / peer, 3),
    }


def make_workspace(workspace: Path) -> tuple[list[str], list[str]]:
    """Trains on the synthetic shop and fills the store; gives customers and items."""
    rng = np.random.default_rng(7)
    shop = make_shop(SHOP, rng=rng)
    log = EventLog(workspace / "event_log")
    log.append(
        log_rows(event for day in simulate(shop, days=SHOP.days, rng=rng) for event in day),
        part="history",
    )
    as_of = SHOP.opening + timedelta(days=SHOP.days)
    weighting = Weighting()
    learnt = read_training_data(log, as_of=as_of, weighting=weighting, catalog=shop.items)
    names = {name for placement in DEFAULT_PLACEMENTS for name in placement.models}
    bundle = Bundle(
        manifest=Manifest(
            model_version="bench",
            as_of=as_of,
            window_from=SHOP.opening,
            config_digest="bench",
            code_revision="bench",
            synthetic=True,
        ),
        items=learnt.items,
        catalog=learnt.catalog,
        models={
            name: MODELS[name].fit(learnt, MODELS[name].config(), rng=rng)
            for name in sorted(names | {"popularity_by_country"})
        },
        placements={placement.name: placement for placement in DEFAULT_PLACEMENTS},
        weighting=weighting,
    )
    root = workspace / "published"
    save_bundle(bundle, bundle_directory(root, "bench"))
    champion = Variant(name="champion", model_version="bench")
    write_publication(root, Publication(variants=[champion]))
    items = learnt.items.ids()
    customers = [f"customer-{n}" for n in range(200)]
    store = SQLiteStore(workspace / "store.sqlite")
    store.append(list(_histories(customers, items, rng)), received_at=datetime.now(UTC))
    store.close()
    return customers, items


def ask(customer: str) -> dict[str, Any]:
    """A page with one personal list."""
    return {"user": {"user_id": customer}, "placements": [{"placement": "for_you", "k": 10}]}


def page(customer: str, items: list[str]) -> dict[str, Any]:
    """A listing page of 50 items to put in order."""
    first = sum(customer.encode()) % (len(items) - 50)
    return {
        "user": {"user_id": customer},
        "items": [{"item_id": id} for id in items[first : first + 50]],
    }


def batch(number: int, items: list[str]) -> dict[str, Any]:
    """A batch of new events."""
    return {
        "events": [
            {
                "event_id": f"bench-{number}-{n}",
                "event": "view_item",
                "timestamp": datetime.now(UTC).isoformat(),
                "user_id": f"other-{(number * BATCH + n) % 5000}",
                "items": [{"item_id": items[(number * BATCH + n) % len(items)]}],
                "consent": {"personalization": True},
            }
            for n in range(BATCH)
        ]
    }


@dataclass(frozen=True)
class Load:
    """What a load came to: answers per second, and the time to an answer in milliseconds."""

    per_second: float
    p50: float
    p99: float


def request(port: int, path: str, body: dict[str, Any]) -> bytes:
    """One HTTP/1.1 request, ready to be sent."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def measure(port: int, requests: Any, *, seconds: float) -> Load:
    """Sends the requests round and round; RuntimeError where one is not answered with 200."""
    turns = itertools.cycle(requests) if isinstance(requests, list) else iter(requests)
    times = asyncio.run(_load(port, turns, seconds))
    p50, p99 = np.percentile(np.array(times) * 1000, [50, 99])
    return Load(len(times) / seconds, float(p50), float(p99))


async def _load(port: int, turns: Iterator[bytes], seconds: float) -> list[float]:
    times: list[float] = []
    until = time.perf_counter() + seconds

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (started := time.perf_counter()) < until:
            writer.write(next(turns))
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            times.append(time.perf_counter() - started)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return times


def event_to_answer(port: int, customers: list[str], items: list[str]) -> float:
    """From sending a purchase to having the answer that knows it: p95 in milliseconds."""
    times = []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
        for number, customer in enumerate(customers[:100]):
            event = {**batch(10_000_000 + number, items)["events"][0], "user_id": customer}
            started = time.perf_counter()
            http.post("/v1/events", json={"events": [event]}).raise_for_status()
            http.post("/v1/recommendations", json=ask(customer)).raise_for_status()
            times.append(time.perf_counter() - started)
    return float(np.percentile(np.array(times) * 1000, 95))


@contextmanager
def serving(workspace: Path) -> Iterator[int]:
    """The service in a process of its own; gives its port."""
    port = free_port()
    command = [sys.executable, "-m", "serving", "--workspace", str(workspace), f"--port={port}"]
    with running(command, f"http://127.0.0.1:{port}/readyz"):
        yield port


@contextmanager
def no_op(workspace: Path) -> Iterator[int]:
    """Bare BentoML in a process of its own; gives its port."""
    port = free_port()
    folder = workspace / "peer"
    folder.mkdir()
    (folder / "peer.py").write_text(NO_OP)
    command = [sys.executable, "-m", "bentoml", "serve", "peer:NoOp", f"--port={port}"]
    with running(
        [*command, "--host=127.0.0.1", f"--working-dir={folder}"],
        f"http://127.0.0.1:{port}/readyz",
        BENTOML_HOME=str(workspace / "bentoml"),
        BENTOML_DO_NOT_TRACK="True",
    ):
        yield port


@contextmanager
def running(command: list[str], ready: str, **environment: str) -> Iterator[None]:
    """A server process from its first good answer to its end."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **environment}
        )
        try:
            deadline = time.monotonic() + 60
            while not _answers(ready):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{command} did not start:\n{log.read().decode()}")
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _histories(customers: list[str], items: list[str], rng: np.random.Generator) -> Iterator[Event]:
    now = datetime.now(UTC)
    kinds = ("view_item", "view_item", "add_to_cart", "purchase")
    for customer in customers:
        for n, item in enumerate(rng.integers(0, len(items), HISTORY).tolist()):
            yield Event(
                event_id=f"{customer}-{n}",
                event=kinds[n % len(kinds)],
                timestamp=now - timedelta(hours=float(HISTORY - n)),
                user_id=customer,
                items=[EventItem(item_id=items[item])],
                consent=Consent(personalization=True),
            )


if __name__ == "__main__":
    for name, line in rows().items():
        print(f"{name:32} {line}")
