"""`recsys demo`: the whole product once, on a synthetic shop, from an empty directory.

Makes the shop, runs the nightly pipeline on its history, starts the service, and lets a known
customer and a stranger click. The service is reached as a shop reaches it: over HTTP.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from recsys.errors import RecsysError
from recsys.synthetic import ShopConfig, SyntheticShop, make_shop, simulate
from training.config import TrainingConfig
from training.pipeline import nightly
from training.pipeline.report import write_summary

READY_SECONDS = 60.0


class DemoConfig(BaseModel):
    """The synthetic shop, how it is trained, and with what it is served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 7
    """The same seed makes the same shop."""
    shop: ShopConfig = ShopConfig()
    """The synthetic shop."""
    training: TrainingConfig = TrainingConfig()
    """How it is trained, with the keys of `TrainingConfig`."""
    workers: int = 1
    """Worker processes of the service."""


class DemoFailed(RecsysError):
    """A step of the demo did not do what the product promises."""


def run(config: DemoConfig, *, console: Console, now: datetime, once: bool) -> None:
    """The whole demo; without `once` it serves on until Ctrl-C.

    The workspace of the configuration is made anew: everything in it is synthetic.
    """
    workspace = config.training.workspace
    if workspace.exists() and not (workspace / MARK).exists():
        raise DemoFailed(f"{workspace} exists and is no demo; name another workspace.")
    shutil.rmtree(workspace, ignore_errors=True)
    (workspace / "shop").mkdir(parents=True)
    (workspace / MARK).write_text("Made by `recsys demo`; everything in here is synthetic.\n")

    console.rule("A synthetic shop")
    shop = _make_files(config, workspace / "shop", now, console)
    console.rule("The nightly run")
    outcome = nightly.run(config.training, console=console, started=now, data=workspace / "shop")
    write_summary(outcome.summary, workspace / "summary.json")
    if not outcome.promoted:
        raise DemoFailed("The gate refused the first version: " + " ".join(outcome.reasons))
    console.print(f"[bold]Version {outcome.version} is the champion.[/]")
    console.rule("The service")
    with _service(workspace, config.workers, console) as client:
        visit(Visitor(client, shop, console, now))
        console.rule()
        console.print(
            f"Serving at {client.base_url} · compare versions: recsys ui --workspace {workspace}"
        )
        if not once:
            console.print("Ctrl-C stops it.")
            _wait_for_ctrl_c()


MARK = "DEMO"


@dataclass(frozen=True, slots=True)
class Visitor:
    """One person's way through the shop, and the console that tells of it."""

    client: httpx.Client
    shop: SyntheticShop
    console: Console
    now: datetime

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The service's answer; DemoFailed with its own words where it is an error."""
        answer = self.client.post(path, json=body)
        if answer.status_code != 200:
            raise DemoFailed(f"{path} answered {answer.status_code}: {answer.text[:500]}")
        content: dict[str, Any] = answer.json()
        return content

    def send(self, person: Mapping[str, str], kind: str, items: Iterable[str]) -> None:
        """One event per item, with consent; DemoFailed unless all are accepted."""
        moment = datetime.now(UTC).isoformat()
        events = [
            {
                "event_id": f"demo-{kind}-{time.time_ns()}-{item}",
                "event": kind,
                "timestamp": moment,
                **person,
                "items": [{"item_id": item}],
                "consent": {"personalization": True, "analytics": True},
            }
            for item in items
        ]
        answer = self.ask("/v1/events", {"events": events})
        if answer["accepted"] != len(events):
            raise DemoFailed(f"Events were not all accepted: {answer}")

    def recommend(
        self, title: str, person: Mapping[str, str], placement: str, items: Sequence[str] = ()
    ) -> list[str]:
        """Prints a placement's answer as a table; gives the item ids."""
        wanted = {"placement": placement, "k": 6, **({"items": list(items)} if items else {})}
        answer = self.ask(
            "/v1/recommendations",
            {"user": dict(person), "placements": [wanted], "explain": True, "fields": ["title"]},
        )
        placed = answer["placements"][0]
        self._table(f"{title}  [dim](level: {placed['level']})[/]", placed["items"])
        return [item["item_id"] for item in placed["items"]]

    def title(self, item: str) -> str:
        """The item's title."""
        return self.shop.items[self.shop.item_number(item)].title

    def _table(self, title: str, items: Sequence[Mapping[str, Any]]) -> None:
        table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
        table.add_column("", justify="right")
        table.add_column("item")
        table.add_column("why")
        for item in items:
            reasons = [reason["text"] for reason in item.get("reasons") or ()]
            explanation = "; ".join(dict.fromkeys([item["source_text"], *reasons[:1]]))
            table.add_row(
                str(item["position"] + 1), item.get("title") or item["item_id"], explanation
            )
        self.console.print(table)
        self.console.print()


def visit(visitor: Visitor) -> None:
    """A known customer, a stranger, a cart and a search: before and after what they do."""
    shop, console = visitor.shop, visitor.console
    known = _a_regular(visitor)
    person = {"user_id": known}
    before = visitor.recommend(f"For customer {known}", person, "for_you")
    clicked = _something_else(shop, before)
    console.print(f"→ {known} looks at: " + ", ".join(map(visitor.title, clicked)), highlight=False)
    visitor.send(person, "view_item", clicked)
    after = visitor.recommend(f"For customer {known}, a moment later", person, "for_you")
    if after == before:
        raise DemoFailed("The customer's clicks changed nothing.")

    stranger = {"anonymous_id": "v-stranger"}
    before = visitor.recommend("For a stranger", stranger, "for_you")
    console.print(
        "→ the stranger looks at: " + ", ".join(map(visitor.title, clicked)), highlight=False
    )
    visitor.send(stranger, "view_item", clicked)
    after = visitor.recommend("For the stranger, a moment later", stranger, "for_you")
    if after == before:
        raise DemoFailed("The stranger's clicks changed nothing.")

    cart = _a_cart(shop)
    console.print("→ in the cart: " + ", ".join(map(visitor.title, cart)), highlight=False)
    visitor.recommend("Bought together with the cart", stranger, "bought_together", cart)
    _search(visitor, person)


def _search(visitor: Visitor, person: Mapping[str, str]) -> None:
    """A search result before and after personal reranking."""
    term = visitor.shop.queries[0]
    hits = visitor.shop.search(term, visitor.now, n=8)
    answer = visitor.ask(
        "/v1/rerank",
        {
            "user": dict(person),
            "query": term,
            "items": [{"item_id": item, "score": float(score)} for item, score in hits],
        },
    )
    table = Table(
        title=f"Search “{term}” for {person['user_id']}",
        title_justify="left",
        show_edge=False,
        pad_edge=False,
    )
    for column in ("", "the engine's order", "personal order", "why"):
        table.add_column(column, justify="right" if not column else "left")
    for row, (item, _) in enumerate(hits):
        ranked = answer["items"][row]
        table.add_row(
            str(row + 1),
            visitor.title(item),
            visitor.title(ranked["item_id"]),
            ranked["source_text"],
        )
    visitor.console.print(table)
    visitor.console.print()


def _make_files(
    config: DemoConfig, directory: Path, now: datetime, console: Console
) -> SyntheticShop:
    """The shop's catalogue, profiles and history as canonical files, ending yesterday."""
    start = (now - timedelta(days=config.shop.days)).date()
    rng = np.random.default_rng(config.seed)
    shop = make_shop(config.shop.model_copy(update={"start": start}), rng=rng)
    _write(directory / "items.jsonl", shop.items)
    _write(directory / "profiles.jsonl", shop.profiles)
    batches = simulate(shop, days=config.shop.days, rng=rng)
    count = _write(directory / "events.jsonl", (e for batch in batches for e in batch))
    console.print(
        f"{len(shop.items):,} items, {len(shop.profiles):,} customers, {count:,} events in "
        f"{config.shop.days} days: [bold]synthetic[/], nothing in it comes from a real shop.",
        highlight=False,
    )
    return shop


def _write(path: Path, records: Iterable[msgspec.Struct]) -> int:
    count = 0
    with path.open("wb") as file:
        for record in records:
            file.write(msgspec.json.encode(record) + b"\n")
            count += 1
    return count


def _a_regular(visitor: Visitor) -> str:
    """A customer who agreed to personalisation and whose taste the service knows."""
    for number in range(len(visitor.shop.profiles)):
        user_id = f"c-{number:04d}"
        answer = visitor.ask(
            "/v1/recommendations",
            {"user": {"user_id": user_id}, "placements": [{"placement": "for_you", "k": 5}]},
        )
        if answer["placements"][0]["level"] == "individual":
            return user_id
    raise DemoFailed("The service knows no customer of the synthetic shop.")


def _something_else(shop: SyntheticShop, shown: Sequence[str]) -> list[str]:
    """Three items of one category of which nothing was shown."""
    seen = {tuple(shop.items[shop.item_number(item)].category) for item in shown}
    by_category: dict[tuple[str, ...], list[str]] = {}
    for item in shop.items:
        if tuple(item.category) not in seen and item.available_from is None:
            by_category.setdefault(tuple(item.category), []).append(item.item_id)
    return max(by_category.values(), key=len)[:3]


def _a_cart(shop: SyntheticShop) -> list[str]:
    """The item with the strongest complements."""
    strongest = max(shop.items, key=lambda item: sum(shop.complements(item.item_id).values()))
    return [strongest.item_id]


@contextmanager
def _service(workspace: Path, workers: int, console: Console) -> Iterator[httpx.Client]:
    """The service as a process of its own, ready; stopped at the end."""
    port = _free_port()
    command = [sys.executable, "-m", "serving", "--workspace", str(workspace)]
    command += ["--port", str(port), "--workers", str(workers)]
    log = (workspace / "serving.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10.0) as client:
            with console.status("starting"):
                _await_ready(client, process, workspace / "serving.log")
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _await_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise DemoFailed(f"The service did not become ready; see {log}.")


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _wait_for_ctrl_c() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        return
