"""Failure scenarios: bundle swaps under load, a locked store, kills of the whole service.

The caller says how long each runs: a few seconds in the tests, a hundred rounds in `make torture`.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import msgspec
import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Placement
from recsys.bundle.publication import Publication, Variant, bundle_directory, write_publication
from recsys.bundle.save_load import save_bundle
from recsys.catalog.items import Catalog, Item
from recsys.events.weighting import Weighting
from recsys.ids import Vocabulary
from recsys.models.factorisation.als import ALSModel
from recsys.models.popularity.popularity import PopularityModel
from tests.benchmarks.load import Load, NamedRequest, drive, request
from tests.benchmarks.made_shop import made_factors, made_neighbours
from tests.support.running_service import HANG_SECONDS, Service

ITEMS = 300
LOCK = """
import fcntl, sqlite3, sys
path = sys.argv[1]
writer = sqlite3.connect(path, isolation_level=None, timeout=30)
writer.execute("BEGIN EXCLUSIVE")
# In WAL mode readers go on beside that; whoever recovers the file holds these bytes as well.
with open(path + "-shm", "r+b") as shared:
    fcntl.lockf(shared, fcntl.LOCK_EX, 7, 121)
    print("locked", flush=True)
    sys.stdin.read()
writer.execute("ROLLBACK")
"""


@dataclass
class Seen:
    """What was looked for in the answers of a load."""

    versions: Counter[str] = field(default_factory=Counter)
    mixed: int = 0
    """Answers with an item that is not of their version."""
    degraded: int = 0
    acknowledged: set[str] = field(default_factory=set)
    ending: int = 0
    """Answers that ended their connection."""
    retry_after: int = 0

    def __call__(self, kind: str, status: int, head: bytes, body: bytes) -> None:
        """Takes an answer in."""
        self.ending += b"connection: close" in head
        self.retry_after += b"retry-after:" in head
        if status != 200:
            return
        answer = msgspec.json.decode(body)
        if kind == "events":
            self.acknowledged.update(result["event_id"] for result in answer["results"])
            return
        version = answer["model_version"]
        self.versions[version] += 1
        self.degraded += answer["degraded"]
        items = [
            item["item_id"] for placement in answer["placements"] for item in placement["items"]
        ]
        self.mixed += any(not item.startswith(version[0]) for item in items)


def publish(workspace: Path, version: str) -> None:
    """A small bundle whose items begin with the first letter of its version."""
    root = workspace / "published"
    if not bundle_directory(root, version).exists():
        save_bundle(_bundle(version), bundle_directory(root, version))
    champion = Variant(name="champion", model_version=version)
    write_publication(root, Publication(variants=[champion]))


def pages(port: int) -> Iterator[NamedRequest]:
    """Pages of two lists for a thousand customers, without end."""
    rng = random.Random(3)
    ready = [
        request(
            port,
            "/v1/recommendations",
            {
                "user": {"user_id": f"customer-{number}"},
                "consent": {"personalization": True},
                "placements": [{"placement": "for_you", "k": 8}, {"placement": "similar", "k": 4}],
            },
        )
        for number in range(1000)
    ]
    while True:
        yield "recommendations", rng.choice(ready)


def batches(port: int, name: str) -> Iterator[NamedRequest]:
    """Batches of three events that nobody has sent before, without end."""
    for number in itertools.count():
        yield "events", request(port, "/v1/events", {"events": events_of(f"{name}-{number}")})


def events_of(name: str) -> list[dict[str, Any]]:
    """Three events whose ids begin with the name."""
    return [
        {
            "event_id": f"{name}-{position}",
            "event": "view_item",
            "timestamp": datetime.now(UTC).isoformat(),
            "user_id": f"customer-{position}",
            "items": [{"item_id": f"a-{position}"}],
            "consent": {"personalization": True},
        }
        for position in range(3)
    ]


@contextmanager
def under_load(
    port: int,
    asked: Iterator[NamedRequest],
    seen: Seen,
    *,
    seconds: float = math.inf,
    connections: int = 8,
) -> Iterator[list[Load]]:
    """The load in a thread beside the block, for so long or until the block is left; the list holds
    it then."""
    came: list[Load] = []
    stopping = threading.Event()

    def load() -> None:
        driven = drive(
            port,
            asked,
            seconds=seconds,
            connections=connections,
            seen=seen,
            stopping=stopping if seconds == math.inf else None,
        )
        came.append(asyncio.run(driven))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield came
    finally:
        stopping.set()
        thread.join()


def swap_under_load(service: Service, *, swaps: int) -> tuple[Load, Seen]:
    """Publishes so many new versions, each when the one before it has answered."""
    seen = Seen()
    with under_load(service.port, pages(service.port), seen) as came:
        for number in range(swaps):
            version = f"{'ba'[number % 2]}-{number}"
            publish(service.workspace, version)
            wait_for(lambda version=version: seen.versions[version] > 0)  # type: ignore[misc]
    return came[0], seen


def lock_under_load(service: Service, *, seconds: float) -> tuple[Load, Seen, Load, Seen]:
    """Pages for so long while the store is locked; what came to pages, and to events."""
    pages_seen, events_seen = Seen(), Seen()
    name = f"lock-{time.time_ns()}"
    port = service.port
    command = [sys.executable, "-c", LOCK, str(service.workspace / "store.sqlite")]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as locker,
        under_load(port, batches(port, name), events_seen, connections=2) as events,
    ):
        assert locker.stdin is not None
        assert locker.stdout is not None
        assert locker.stdout.readline() == b"locked\n"
        with under_load(port, pages(port), pages_seen, seconds=seconds) as came:
            pass
        locker.stdin.close()
    return came[0], pages_seen, events[0], events_seen


def kill_while_sending(
    workspace: Path, *, kills: int, senders: int = 8, start: Callable[[Path], Service]
) -> tuple[int, int, int]:
    """Kills the whole service so often while events are sent: acknowledged, lost, doubled.

    What was not acknowledged is sent again to the next service, as a shop would.
    """
    rng = random.Random(5)
    acknowledged: set[str] = set()
    for number in range(kills + 1):
        service = start(workspace)
        seen = Seen()
        asked = batches(service.port, f"kill-{number}")
        left = [f"kill-{number - 1}-{n}" for n in range(50)] if number else []
        again = (
            ("events", request(service.port, "/v1/events", {"events": events_of(name)}))
            for name in left
        )
        seconds = rng.uniform(0.1, 0.6)
        with under_load(
            service.port,
            itertools.chain(again, asked),
            seen,
            connections=senders,
        ):
            wait_for(lambda seen=seen: bool(seen.acknowledged))  # type: ignore[misc]
            time.sleep(seconds)
            if number < kills:
                service.kill_everything()
                service.process.wait()
        acknowledged |= seen.acknowledged
        if number == kills:
            service.stop()
    with apsw.Connection(str(workspace / "store.sqlite")) as connection:
        stored = Counter(
            id
            for (id,) in connection.execute("SELECT json_extract(body, '$.event_id') FROM waiting")
        )
    lost = len(acknowledged - set(stored))
    doubled = sum(1 for count in stored.values() if count > 1)
    return len(acknowledged), lost, doubled


def stored_ids(workspace: Path) -> set[str]:
    """Every event id that the store knows."""
    with apsw.Connection(str(workspace / "store.sqlite")) as connection:
        return {id for (id,) in connection.execute("SELECT event_id FROM event_ids")}


def wait_for(true: Callable[[], bool]) -> None:
    """Returns when it is true; TimeoutError where that is a hang."""
    deadline = time.monotonic() + HANG_SECONDS
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.01)


def _bundle(version: str) -> Bundle:
    rng = np.random.default_rng(1)
    ids = [f"{version[0]}-{number}" for number in range(ITEMS)]
    vocabulary = Vocabulary(ids)
    catalog = Catalog.of([Item(item_id=id, title=f"Thing {id}") for id in ids], vocabulary)
    now = datetime.now(UTC).replace(microsecond=0)
    placements = (
        Placement(name="for_you", blend={"als": 1.0}, fallback=("popularity",)),
        Placement(name="similar", blend={"item_item": 1.0}, fallback=("popularity",)),
        Placement(name="rerank", blend={"als": 1.0}, fallback=()),
    )
    return Bundle(
        manifest=Manifest(
            model_version=version,
            as_of=now,
            window_from=now - timedelta(days=90),
            config_digest="made",
            code_revision="made",
            synthetic=True,
        ),
        items=vocabulary,
        catalog=catalog,
        models={
            "als": ALSModel.of(made_factors(ITEMS, 16, rng), alpha=1.0, reg=1.0),
            "item_item": made_neighbours(ITEMS, 10, rng),
            "popularity": PopularityModel.of(np.linspace(1, 2, ITEMS).astype(np.float32)),
        },
        placements={placement.name: placement for placement in placements},
        weighting=Weighting(),
    )
