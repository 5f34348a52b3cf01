"""A load generator that uses little CPU: ready-made requests over kept-alive connections.

Run as a process it prints the result as JSON:

    python -m tests.benchmarks.load --port 3000 --seconds 8 --connections 16 --items 20000
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import uvloop

NamedRequest = tuple[str, bytes]
"""The kind of a request, and its bytes."""
OnAnswer = Callable[[str, int, bytes, bytes], None]
"""Called with every answer: kind of request, status, head and body."""

MIX = {"recommendations": 0.70, "rerank": 0.15, "events": 0.15}
"""Pages with two placements, result lists of 100 items, batches of five events."""
READY_MADE = 4_000


@dataclass
class Load:
    """Result of a load: milliseconds by kind of request, and answers by status."""

    seconds: float = 0.0
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    """Requests whose connection broke before the answer."""

    @property
    def per_second(self) -> float:
        """Answers per second of any status."""
        return sum(self.statuses.values()) / self.seconds

    def percentile(self, share: float, *kinds: str) -> float:
        """Milliseconds to an answer, over some kinds or all of them."""
        chosen = kinds or tuple(self.milliseconds)
        times = np.concatenate([self.milliseconds.get(kind, []) for kind in chosen])
        return float(np.percentile(times, share)) if len(times) else float("nan")

    def report(self) -> dict[str, Any]:
        """As the process prints it."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "per_second": self.per_second,
            "requests": sum(self.statuses.values()),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "broken": self.broken,
            "own_cpu_seconds": usage.ru_utime + usage.ru_stime,
            **{
                f"{kind or 'all'}_p{share}": self.percentile(share, *([kind] if kind else []))
                for kind in ("", *self.milliseconds)
                for share in (50, 95, 99)
            },
        }


def request(port: int, path: str, body: dict[str, Any], *, method: str = "POST") -> bytes:
    """One HTTP/1.1 request, ready to be sent."""
    content = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def shop_requests(
    port: int, *, items: int, customers: int, seed: int, mix: dict[str, float] = MIX
) -> Iterator[NamedRequest]:
    """An endless mix as a shop sends it; every event has a new id and the present time."""
    rng = random.Random(seed)
    ready = {
        "recommendations": [
            request(port, "/v1/recommendations", page_of_lists(rng, items, customers))
            for _ in range(READY_MADE)
        ],
        "rerank": [
            request(port, "/v1/rerank", result_list(rng, items, customers))
            for _ in range(READY_MADE // 4)
        ],
    }
    numbers = itertools.count()
    kinds, shares = list(mix), list(mix.values())
    while True:
        for kind in rng.choices(kinds, shares, k=1000):
            if kind == "events":
                yield (
                    kind,
                    request(
                        port, "/v1/events", event_batch(rng, items, customers, seed, next(numbers))
                    ),
                )
            else:
                yield kind, rng.choice(ready[kind])


def page_of_lists(rng: random.Random, items: int, customers: int) -> dict[str, Any]:
    """Home page (personal list, trending) or product page (similar, bought together)."""
    item = f"item-{rng.randrange(items):07}"
    if rng.random() < 0.5:
        placements: list[dict[str, Any]] = [
            {"placement": "for_you", "k": 12},
            {"placement": "trending", "k": 8},
        ]
    else:
        placements = [
            {"placement": "similar", "k": 8, "items": [item]},
            {"placement": "bought_together", "k": 4, "items": [item]},
        ]
    return {"user": visitor(rng, customers), "placements": placements}


def result_list(rng: random.Random, items: int, customers: int) -> dict[str, Any]:
    """A search result of 100 items with the engine's scores."""
    chosen = rng.sample(range(items), 100)
    return {
        "user": visitor(rng, customers),
        "query": rng.choice(("blue mug", "lamp", "card holder", "what nobody sells")),
        "items": [
            {"item_id": f"item-{number:07}", "score": round(10.0 - rank * 0.07, 3)}
            for rank, number in enumerate(chosen)
        ],
    }


def event_batch(
    rng: random.Random, items: int, customers: int, seed: int, number: int
) -> dict[str, Any]:
    """Five events of one visit."""
    who = visitor(rng, customers)
    moment = datetime.now(UTC).isoformat()
    kinds = ("view_item", "view_item", "view_item", "add_to_cart", "purchase")
    return {
        "events": [
            {
                "event_id": f"load-{seed}-{number}-{position}",
                "event": kind,
                "timestamp": moment,
                **who,
                "items": [{"item_id": f"item-{rng.randrange(items):07}", "price": 9.95}],
                "consent": {"personalization": True, "analytics": True},
            }
            for position, kind in enumerate(kinds)
        ]
    }


def visitor(rng: random.Random, customers: int) -> dict[str, Any]:
    """A customer in their current visit."""
    return {"user_id": f"customer-{rng.randrange(customers):08}", "session_id": "visit"}


async def drive(
    port: int,
    requests: Iterable[NamedRequest],
    *,
    seconds: float,
    connections: int,
    seen: OnAnswer | None = None,
    stopping: threading.Event | None = None,
) -> Load:
    """Sends requests over so many connections, one at a time over each, for `seconds` or until
    `stopping` is set.

    A connection that breaks is counted and opened again. `seen` is called with every answer.
    """
    loop = asyncio.get_running_loop()
    load = Load()
    turns = iter(requests)
    started = time.perf_counter()
    until = started + seconds

    def is_over() -> bool:
        return time.perf_counter() >= until or (stopping is not None and stopping.is_set())

    async def keep_connected() -> None:
        while not is_over():
            finished = loop.create_future()
            try:
                await loop.create_connection(
                    lambda: _Connection(load, turns, is_over, finished, seen),  # noqa: B023
                    "127.0.0.1",
                    port,
                )
            except OSError:
                load.broken += 1
                await asyncio.sleep(0.05)
                continue
            await finished

    await asyncio.gather(*(keep_connected() for _ in range(connections)))
    load.seconds = time.perf_counter() - started
    return load


class _Connection(asyncio.Protocol):
    def __init__(
        self,
        load: Load,
        turns: Iterator[NamedRequest],
        is_over: Callable[[], bool],
        finished: asyncio.Future[None],
        seen: OnAnswer | None,
    ) -> None:
        self.load = load
        self.turns = turns
        self.is_over = is_over
        self.finished = finished
        self.seen = seen
        self.received = b""
        self.kind = ""
        self.waiting = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        if self.is_over():
            self.transport.close()
            return
        self.kind, content = next(self.turns)
        self.started = time.perf_counter()
        self.waiting = True
        self.transport.write(content)

    def data_received(self, received: bytes) -> None:
        self.received += received
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.received[:end].lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(self.received) < end + 4 + length:
            return
        self.load.milliseconds.setdefault(self.kind, []).append(
            (time.perf_counter() - self.started) * 1000
        )
        status = int(head[9:12])
        self.load.statuses[status] += 1
        if self.seen is not None:
            self.seen(self.kind, status, head, self.received[end + 4 :])
        self.received = b""
        self.waiting = False
        if b"connection: close" in head:
            self.transport.close()
        else:
            self.send()

    def connection_lost(self, _error: Exception | None) -> None:
        self.load.broken += self.waiting
        if not self.finished.done():
            self.finished.set_result(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=sorted(MIX))
    options = parser.parse_args()
    mix = {options.only: 1.0} if options.only else MIX
    requests = shop_requests(
        options.port,
        items=options.items,
        customers=options.customers,
        seed=options.seed,
        mix=mix,
    )
    load = uvloop.run(
        drive(options.port, requests, seconds=options.seconds, connections=options.connections)
    )
    json.dump(load.report(), sys.stdout)


if __name__ == "__main__":
    main()
