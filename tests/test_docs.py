"""The documentation holds: every code block of the listed files is run or checked, every link
resolves, and the tables name all that the code has.

`http` blocks are requests: each is sent and must be answered without a rejection. `python`, `bash`
and `sh` blocks are run in a scratch directory beside a running service, in the order in which the
file has them; a Python block is run as a module that is given `items.jsonl`. The commands of
`console` blocks must exist with their options. `json` and `yaml` must parse, and a `yaml` block
whose first line is a comment that names a file of configs/ must be valid as such.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml
from readme import ROOT, Block, anchors, blocks, relative_links
from reference import CLASSES
from served_in_process import serve_in_thread
from starlette.applications import Starlette
from typer.testing import CliRunner

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import DEFAULT_PLACEMENTS, Placement
from recsys.bundle.publication import Publication, Variant, bundle_directory, write_publication
from recsys.bundle.save_load import save_bundle
from recsys.events.schema import Consent, Event, EventItem, Person
from recsys.store.sqlite import SQLiteStore
from serving.api.routes import ROUTES
from serving.config import ServingConfig
from serving.http.app import build_app
from serving.http.guard import Limits
from serving.metrics import Metrics
from serving.worker import Worker
from training.cli.app import app as commands

READMES = (
    "README.md",
    "configs/README.md",
    "recsys/README.md",
    "serving/README.md",
    "tests/README.md",
    "training/README.md",
    "training/benchmark/README.md",
)
"""The files whose blocks are run; add a README here when it is written."""
LANGUAGES = {
    "",
    "text",
    "cron",
    "mermaid",
    "http",
    "python",
    "bash",
    "sh",
    "console",
    "json",
    "yaml",
}
SERVICE = "http://127.0.0.1:3000"
"""The address that the documentation uses."""
NOW = datetime(2026, 11, 21, 20, 16, tzinfo=UTC)
"""The moment of the documentation's requests."""


def every_block(*languages: str) -> list[Block]:
    return [block for file in READMES for block in blocks(file, *languages)]


@dataclass(frozen=True)
class App:
    """The real application, spoken to in process."""

    asgi: Starlette

    def ask(self, method: str, path: str, body: str | None = None) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.asgi)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                return await http.request(
                    method, path, content=body, headers={"Content-Type": "application/json"}
                )

        return asyncio.run(send())


@pytest.fixture(scope="module")
def workspace(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the small synthetic shop is published, as `make demo` leaves one."""
    workspace = tmp_path_factory.mktemp("readme")
    published = workspace / "published"
    save_bundle(bundle, bundle_directory(published, "v1"))
    write_publication(
        published, Publication(variants=[Variant(name="champion", model_version="v1")])
    )
    return workspace


@pytest.fixture(scope="module")
def app(workspace: Path) -> Iterator[App]:
    """The application over the small shop, its clock at the documentation's day."""
    worker = Worker.open(ServingConfig(workspace=workspace))
    state = replace(worker.state, clock=lambda: NOW)
    limits = Limits(body_bytes=262_144, body_seconds=2.0, api_key=None)
    yield App(build_app(state, limits=limits))
    asyncio.run(worker.close())


@pytest.fixture(scope="module")
def address(
    workspace: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the same application behind a server, with the clock of today."""
    store = tmp_path_factory.mktemp("store") / "store.sqlite"
    worker = Worker.open(ServingConfig(workspace=workspace, store=store))
    worker.state.store.put_items(list(bundle.catalog.items), received_at=datetime.now(UTC))
    worker.state.source.follow_catalog()
    with serve_in_thread(worker.app) as url:
        yield url
    asyncio.run(worker.close())


@pytest.fixture(scope="module")
def scratch(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A scratch directory per file, with configs/, data/ and the catalogue as `items.jsonl`."""
    items = b"".join(msgspec.json.encode(item) + b"\n" for item in bundle.catalog.items)
    folders = {}
    for file in READMES:
        folder = tmp_path_factory.mktemp(file.replace("/", "-"))
        (folder / "items.jsonl").write_bytes(items)
        for name in ("configs", "data"):
            if (ROOT / name).is_dir():
                (folder / name).symlink_to(ROOT / name)
        folders[file] = folder
    return folders


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_every_block_has_a_language_that_is_run_or_checked() -> None:
    unknown = [str(block) for block in every_block() if block.language not in LANGUAGES]
    assert unknown == []


@pytest.mark.parametrize("block", every_block("http"), ids=str)
def test_the_requests_are_answered(app: App, block: Block) -> None:
    head, _, body = block.text.partition("\n\n")
    method, path = head.split()
    answer = app.ask(method, path, body)
    assert answer.status_code == 200, answer.text
    answered = answer.json()
    assert answered.get("rejected", 0) == 0, answer.text
    for placement in answered.get("placements", []):
        if method == "POST" and path == "/v1/recommendations":
            assert placement["items"], placement


@pytest.mark.parametrize("block", every_block("python", "bash", "sh"), ids=str)
def test_the_programs_run(address: str, scratch: dict[str, Path], block: Block) -> None:
    folder = scratch[block.file]
    program = block.text.replace(SERVICE, address)
    if block.language == "python":
        file = folder / f"block_{block.line}.py"
        file.write_text(program, encoding="utf-8")
        start = f"import runpy; runpy.run_path({str(file)!r}, run_name='block')"
        done = run([sys.executable, "-c", start, "items.jsonl"], folder)
    else:
        program = program.replace("curl -s", "curl -s --fail-with-body")
        done = run(["bash", "-ec", program], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"rejected":1' not in done.stdout


def command_lines() -> list[tuple[str, list[str]]]:
    """The commands in blocks for a shell, each with the block that it stands in."""
    lines = []
    for block in every_block("console", "bash", "sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            for command in line.partition("  #")[0].split(" && "):
                arguments = command.split()
                if arguments and arguments[0].rpartition("/")[2] in ("recsys", "make"):
                    lines.append((str(block), shlex.split(command)))
    return lines


@pytest.mark.parametrize(("where", "arguments"), command_lines())
def test_the_commands_and_their_options_exist(where: str, arguments: list[str]) -> None:
    if arguments[0] == "make":
        target = arguments[1]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), where
        return
    names = arguments[1:3] if arguments[1] == "experiment" else arguments[1:2]
    shown = CliRunner().invoke(commands, [*names, "--help"], env={"COLUMNS": "200"}).output
    for option in (word for word in arguments if word.startswith("--")):
        assert option in shown, (where, option, shown)


@pytest.mark.parametrize("block", every_block("json", "yaml"), ids=str)
def test_the_data_parses_and_fits_the_file_that_it_names(block: Block) -> None:
    if block.language == "json":
        json.loads(block.text)
        return
    content: Any = yaml.safe_load(block.text)
    named = re.match(r"# (?:configs/)?([\w-]+\.yaml)", block.text)
    if named is not None and named[1] in CLASSES:
        CLASSES[named[1]].model_validate(content)


def written_readmes() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return listed.stdout.split() or list(READMES)


@pytest.mark.parametrize("file", written_readmes())
def test_every_relative_link_resolves(file: str) -> None:
    for target in relative_links(file):
        path, _, anchor = target.partition("#")
        there = (ROOT / file).parent / path if path else ROOT / file
        assert there.exists(), f"{file} links to {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{file} links to {target}"


LOOK_UPS = (
    "already-bought filter",
    "frequency cap",
    "stock filter",
    "diversity and quotas",
    "fallback chain",
    "position bias",
    "cold items",
    "impressions",
    "rate limiting",
    "consent",
    "explanation",
    "A/B assignment",
    "promotion gate",
    "erasure",
    "bundle loading",
    "query building",
)


def test_every_look_up_of_the_library_readme_names_a_file_that_exists() -> None:
    section = section_of("recsys/README.md", "Where is what")
    rows = re.findall(r"^\| ([^|]+) \| \[`([^`]+)`\]", section, re.MULTILINE)
    assert tuple(name for name, _ in rows) == LOOK_UPS
    for name, path in rows:
        assert (ROOT / path).is_file(), f"{name}: {path}"


def test_every_word_of_the_library_readme_has_one_meaning() -> None:
    section = section_of("recsys/README.md", "Words")
    terms = [row.split("|")[1].strip() for row in section.splitlines() if row.startswith("| ")]
    assert len(terms) > 50
    assert sorted(set(terms[1:]), key=str.lower) == terms[1:]


def section_of(file: str, title: str) -> str:
    """The text below a heading of the second level."""
    _, _, rest = (ROOT / file).read_text(encoding="utf-8").partition(f"\n## {title}\n")
    return rest.partition("\n## ")[0]


def test_every_route_with_a_body_has_an_example_in_the_documentation() -> None:
    shown = {block.text.split()[1] for block in every_block("http")}
    assert shown == {route.path for route in ROUTES if route.takes_body}


def documentation() -> str:
    return "\n".join((ROOT / file).read_text(encoding="utf-8") for file in READMES)


def test_the_documentation_names_every_route() -> None:
    named = set(re.findall(r"`(?:GET|POST|PUT) (/\S+?)`", documentation()))
    assert named == {route.path for route in ROUTES}


def test_the_documentation_names_every_command() -> None:
    named = set(re.findall(r"\| `recsys (\w+)", documentation()))
    known = {command.name or command.callback.__name__ for command in commands.registered_commands}
    assert named == known


def test_the_documentation_names_every_placement() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", documentation(), re.MULTILINE))
    assert {placement.name for placement in DEFAULT_PLACEMENTS} - {"rerank"} <= named


def test_the_documentation_names_every_metric() -> None:
    counted = {metric.name for metric in Metrics().registry.collect()}
    assert counted == set(re.findall(r"`(recsys_[a-z_]+)`", documentation()))


def test_the_documented_backup_holds_every_acknowledged_event(tmp_path: Path) -> None:
    (program,) = [
        block.text
        for block in blocks("serving/README.md", "python")
        if block.text.startswith('"""python backup.py')
    ]
    namespace: dict[str, Any] = {"__name__": "backup"}
    exec(compile(program, "backup.py", "exec"), namespace)
    live = SQLiteStore(tmp_path / "store.sqlite")
    event = Event(
        event_id="kept",
        event="view_item",
        timestamp=NOW,
        user_id="u-17",
        items=[EventItem(item_id="sku-00001")],
        consent=Consent(personalization=True),
    )
    live.append([event], received_at=NOW)
    namespace["backup"](tmp_path / "store.sqlite", tmp_path / "copy.sqlite")
    live.close()
    restored = SQLiteStore(tmp_path / "copy.sqlite")
    assert [row.item_id for row in restored.person(Person("u-17", None)).history] == ["sku-00001"]
    restored.close()


def test_the_placements_file_explains_every_key() -> None:
    text = (ROOT / "configs" / "placements.yaml").read_text()
    for key in Placement.model_fields:
        assert re.search(rf"\b{key}\b", text), key


def test_the_documentation_names_every_file_of_configs() -> None:
    files = {file.name for file in (ROOT / "configs").glob("*.yaml")}
    assert files == set(re.findall(r"`configs/([\w-]+\.yaml)`", documentation()))


def test_the_openapi_description_is_valid_json_of_version_3_1(app: App) -> None:
    described = msgspec.json.decode(app.ask("GET", "/openapi.json").content)
    assert described["openapi"].startswith("3.1")
    assert set(described["paths"]) == {route.path for route in ROUTES}


def test_the_times_of_the_examples_are_within_the_tolerance() -> None:
    # The lines for a shell take the time from `date`.
    times = re.findall(r'"timestamp": "([^"$]+)"', documentation())
    assert times
    for time in times:
        assert NOW - datetime.fromisoformat(time) < timedelta(days=30)
