"""The service with two workers under the mix of a shop, driven by another process.

70 % pages of two lists, 15 % result lists of 100 items, 15 % batches of five events, over 16
connections that are kept alive. Two peers get the same load: a bare BentoML endpoint that does
nothing, and a minimal service (FastAPI and `implicit` in memory, without history, rules or
ranking). CPU is counted in the worker processes alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from recsys.kernels import best_of_all
from recsys.models.scoring.dense_index import DenseIndex
from tests.benchmarks.bench_models import row
from tests.benchmarks.made_shop import (
    ShopSize,
    customer_id,
    fill_store,
    item_id,
    made_factors,
    publish_fitted,
    publish_made,
)
from tests.benchmarks.peers import bentoml_no_op, plain_fastapi
from tests.support.running_service import Service

SHOP = ShopSize(items=20_000, customers=100_000)
MANY_CUSTOMERS = ShopSize(items=20_000, customers=10_000_000, events=3)
LARGER = (200_000, 1_000_000)
WORKERS = 2
SECONDS = 8.0
QUERIES = 50
ASKED = 200
"""Events for which the time until the next answer knows them is measured."""
Row = dict[str, Any]


def rows() -> dict[str, Row]:
    """Name → {value, unit, peer, ratio}; a ratio is ours / the peer's."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        publish_fitted(workspace, SHOP)
        fill_store(workspace / "store.sqlite", SHOP)
        results = full_answers(workspace)
        results |= many_customers(workspace)
    for n_items in LARGER:
        with tempfile.TemporaryDirectory() as folder:
            results |= larger(Path(folder), n_items)
    return results


def full_answers(workspace: Path) -> dict[str, Row]:
    """The mix, its parts, the delay of an event, and the two peers."""
    with serving(workspace) as service:
        drive(service.port, seconds=2.0)
        ours = timed(service, seconds=SECONDS)
        # Measured after the same loads as with more customers.
        memory = resident(service)
        parts = {
            kind: timed(service, seconds=SECONDS / 3, only=kind)
            for kind in ("recommendations", "rerank", "events")
        }
        lag = event_to_answer(service)
    with bentoml_no_op(workspace, workers=WORKERS) as port:
        no_op = drive(port, seconds=SECONDS / 2)
    with plain_fastapi(workspace, workers=WORKERS) as port:
        plain = drive(port, seconds=SECONDS / 2, only="recommendations")
    name = "serving/full_answer"
    return {
        f"{name}/requests_per_second": row(ours["per_second"], "req/s"),
        f"{name}/p50_ms": row(ours["all_p50"], "ms"),
        f"{name}/p95_ms": row(ours["all_p95"], "ms"),
        f"{name}/p99_ms": row(ours["all_p99"], "ms"),
        f"{name}/cpu_ms_per_request": row(ours["cpu_ms"], "ms, workers"),
        f"{name}/generator_cpu_ms_per_request": row(ours["generator_ms"], "ms, beside it"),
        f"{name}/beside_bentoml_no_op": row(
            no_op["per_second"],
            "req/s of the peer",
            "bare BentoML",
            ours["per_second"] / no_op["per_second"],
        ),
        f"{name}/beside_plain_fastapi": row(
            plain["per_second"],
            "req/s of the peer",
            "FastAPI + implicit",
            ours["per_second"] / plain["per_second"],
        ),
        f"{name}/bentoml_no_op_p99_ms": row(no_op["all_p99"], "ms of the peer"),
        f"{name}/plain_fastapi_p99_ms": row(plain["all_p99"], "ms of the peer"),
        **{
            f"serving/{kind}/{figure}": row(part[key], unit)
            for kind, part in parts.items()
            for figure, key, unit in (
                ("requests_per_second", "per_second", "req/s"),
                ("p99_ms", "all_p99", "ms"),
                ("cpu_ms_per_request", "cpu_ms", "ms, workers"),
            )
        },
        "serving/event_to_other_workers_answer/p50_ms": row(float(np.median(lag)), "ms"),
        "serving/event_to_other_workers_answer/p99_ms": row(float(np.percentile(lag, 99)), "ms"),
        "serving/resident_mb/100000_customers": row(memory, "MB, workers"),
    }


def many_customers(workspace: Path) -> dict[str, Row]:
    """Resident memory of the service with a hundred times as many customers in the store."""
    for file in workspace.glob("store.sqlite*"):
        file.unlink()
    fill_store(workspace / "store.sqlite", MANY_CUSTOMERS)
    with serving(workspace) as service:
        drive(service.port, seconds=2.0)
        load = timed(service, seconds=SECONDS, customers=MANY_CUSTOMERS.customers)
        return {
            "serving/resident_mb/10000000_customers": row(resident(service), "MB, workers"),
            "serving/10000000_customers/requests_per_second": row(load["per_second"], "req/s"),
        }


def larger(workspace: Path, n_items: int) -> dict[str, Row]:
    """The same mix over a larger catalogue, with factors that are drawn and not learnt."""
    size = ShopSize(items=n_items, customers=10_000)
    publish_made(workspace, n_items)
    fill_store(workspace / "store.sqlite", size)
    with serving(workspace) as service:
        drive(service.port, seconds=2.0, items=n_items, customers=size.customers)
        load = timed(service, seconds=SECONDS / 2, items=n_items, customers=size.customers)
    name = f"serving/{n_items}_items"
    recall, indexed, exact = searched(n_items)
    return {
        f"{name}/index_recall_at_200": row(recall, "of the exact 200 best"),
        f"{name}/index_ms": row(indexed, "ms CPU", "a product over all", indexed / exact),
        f"{name}/requests_per_second": row(load["per_second"], "req/s"),
        f"{name}/p99_ms": row(load["all_p99"], "ms"),
        f"{name}/cpu_ms_per_request": row(load["cpu_ms"], "ms, workers"),
    }


def searched(n_items: int) -> tuple[float, float, float]:
    """Recall of the approximate index, and CPU milliseconds per query of the index and of the exact
    product with all items."""
    rng = np.random.default_rng(7)
    factors = made_factors(n_items, 64, rng)
    index = DenseIndex.of(factors)
    everything = np.ones(n_items, np.bool_)
    shares, ours, theirs = [], [], []
    for _ in range(QUERIES):
        query = factors[rng.integers(0, n_items, 5)].mean(axis=0)
        started = time.thread_time()
        numbers, _ = index.best(query, factors, None, everything, everything, 200)
        between = time.thread_time()
        best, _ = best_of_all(factors @ query, everything, everything, 200)
        ended = time.thread_time()
        shares.append(len(np.intersect1d(numbers, best)) / 200)
        ours.append((between - started) * 1000)
        theirs.append((ended - between) * 1000)
    return float(np.mean(shares)), float(np.median(ours)), float(np.median(theirs))


@contextmanager
def serving(workspace: Path) -> Iterator[Service]:
    """The service with its workers, from its first good answer to its end."""
    service = Service.start(workspace, workers=WORKERS)
    try:
        yield service
    finally:
        service.stop()


def timed(service: Service, **options: Any) -> dict[str, float]:
    """A load, with milliseconds of CPU per request in the workers and in the generator."""
    before = cpu_seconds(service.workers())
    load = drive(service.port, **options)
    spent = cpu_seconds(service.workers()) - before
    load["cpu_ms"] = 1000 * spent / load["requests"]
    load["generator_ms"] = 1000 * load["own_cpu_seconds"] / load["requests"]
    return load


def drive(
    port: int,
    *,
    seconds: float,
    only: str | None = None,
    items: int = SHOP.items,
    customers: int = SHOP.customers,
) -> dict[str, Any]:
    """The load of another process; RuntimeError where a request was not answered with 200."""
    command = [sys.executable, "-m", "tests.benchmarks.load", f"--port={port}"]
    command += [f"--seconds={seconds}", f"--items={items}", f"--customers={customers}"]
    command += [f"--seed={time.time_ns() % 10**9}", *([f"--only={only}"] if only else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    load: dict[str, Any] = json.loads(done.stdout)
    if set(load["statuses"]) != {"200"} or load["broken"]:
        raise RuntimeError(f"not every request was answered: {load}")
    return load


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds that the processes have used so far, user and system."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def resident(service: Service) -> float:
    """Resident megabytes of the workers (PSS: shared pages are counted once)."""
    return sum(process.memory_full_info().pss for process in service.workers()) / 1e6


def event_to_answer(service: Service) -> list[float]:
    """Milliseconds from sending an event until another worker's answer knows it.

    Events are sent over a connection to one worker, pages are requested from another.
    """
    times = []
    with connected(service, 0) as sending, connected(service, 1) as asking:
        for number in range(ASKED):
            customer, item = customer_id(number * 17), item_id(19_999 - 50 * number)
            event = {
                "event_id": f"lag-{time.time_ns()}",
                "event": "view_item",
                "timestamp": datetime.now(UTC).isoformat(),
                "user_id": customer,
                "items": [{"item_id": item}],
                "consent": {"personalization": True},
            }
            page = {
                "user": {"user_id": customer},
                "placements": [{"placement": "recently_viewed", "k": 20}],
            }
            started = time.perf_counter()
            sending.post("/v1/events", json={"events": [event]}).raise_for_status()
            while item not in asking.post("/v1/recommendations", json=page).text:
                if time.perf_counter() - started > 5:
                    raise RuntimeError("the event is not known after five seconds")
            times.append((time.perf_counter() - started) * 1000)
    return times


@contextmanager
def connected(service: Service, worker: int) -> Iterator[httpx.Client]:
    """A client whose one connection ends in the worker of that number."""
    pid = service.workers()[worker].pid
    while True:
        with httpx.Client(base_url=service.url) as client:
            stream = client.get("/livez").extensions["network_stream"]
            _, port = stream.get_extra_info("client_addr")
            reached = psutil.Process(pid).net_connections("tcp4")
            if any(connection.raddr and connection.raddr.port == port for connection in reached):
                yield client
                return
