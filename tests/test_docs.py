"""The README holds: its requests are answered, its tables name all that the code has."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import pytest
import yaml
from starlette.applications import Starlette
from typer.testing import CliRunner

from recsys.bundle.placements import DEFAULT_PLACEMENTS, Placement
from recsys.bundle.publication import Publication, Variant, bundle_directory, write_publication
from recsys.bundle.save_load import save_bundle
from recsys.bundle.shop_settings import PlacementsConfig, SegmentsConfig
from serving.api.routes import ROUTES
from serving.config import ServingConfig
from serving.http.app import build_app
from serving.http.guard import Limits
from serving.worker import Worker
from training.cli.app import app as commands
from training.cli.demo import DemoConfig
from training.config import TrainingConfig

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOW = datetime(2026, 11, 21, 20, 16, tzinfo=UTC)

REQUESTS = re.findall(r"```http\n(\w+) (\S+)\n\n(.*?)```", README, re.DOTALL)


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
def app(bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The application over a small published bundle, its clock at the README's day."""
    workspace = tmp_path_factory.mktemp("readme")
    published = workspace / "published"
    save_bundle(bundle, bundle_directory(published, "v1"))
    write_publication(
        published, Publication(variants=[Variant(name="champion", model_version="v1")])
    )
    worker = Worker.open(ServingConfig(workspace=workspace))
    state = replace(worker.state, clock=lambda: NOW)
    limits = Limits(body_bytes=262_144, body_seconds=2.0, api_key=None)
    yield App(build_app(state, limits=limits))
    asyncio.run(worker.close())


def test_the_readme_has_an_example_of_every_route_that_takes_a_body() -> None:
    shown = {path for _, path, _ in REQUESTS}
    taking = {route.path for route in ROUTES if route.takes_body}
    assert shown == taking


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_the_readmes_requests_are_answered(app: App, method: str, path: str, body: str) -> None:
    answer = app.ask(method, path, body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found.get("rejected", 0) == 0, answer.text
    for placement in found.get("placements", []):
        assert placement["items"], placement


def test_the_readmes_table_names_every_route() -> None:
    rows = set(re.findall(r"`(?:GET|POST|PUT) (/\S+?)`", README))
    assert rows == {route.path for route in ROUTES}


def test_the_readmes_table_names_every_command() -> None:
    named = set(re.findall(r"\| `recsys (\w+)", README))
    known = {command.name or command.callback.__name__ for command in commands.registered_commands}
    assert named == known


def test_the_readme_names_every_placement() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    assert {one.name for one in DEFAULT_PLACEMENTS} - {"rerank"} <= named


def test_the_placements_file_explains_every_key() -> None:
    text = (ROOT / "configs" / "placements.yaml").read_text()
    for key in Placement.model_fields:
        assert re.search(rf"\b{key}\b", text), key


def test_the_readme_names_every_configuration_file() -> None:
    shipped = {path.name for path in (ROOT / "configs").glob("*.yaml")}
    assert shipped == set(re.findall(r"`configs/([\w-]+\.yaml)`", README))


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", README, re.MULTILINE))
def test_the_readmes_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("file", "model"),
    [
        ("training.yaml", TrainingConfig),
        ("online-retail.yaml", TrainingConfig),
        ("online-retail-ranked.yaml", TrainingConfig),
        ("search.yaml", TrainingConfig),
        ("preset-sparse.yaml", TrainingConfig),
        ("preset-grocery.yaml", TrainingConfig),
        ("preset-media.yaml", TrainingConfig),
        ("preset-sessions.yaml", TrainingConfig),
        ("serving.yaml", ServingConfig),
        ("placements.yaml", PlacementsConfig),
        ("segments.yaml", SegmentsConfig),
        ("demo.yaml", DemoConfig),
    ],
)
def test_the_shipped_configuration_is_valid(file: str, model: type) -> None:
    model.model_validate(yaml.safe_load((ROOT / "configs" / file).read_text()))


def test_every_key_of_the_training_configuration_is_commented_or_explained() -> None:
    text = (ROOT / "configs" / "training.yaml").read_text()
    for key in TrainingConfig.model_fields:
        if key in ("checks", "imports"):
            continue
        assert re.search(rf"^\s*{key}:", text, re.MULTILINE), key


def test_the_options_that_the_readme_uses_exist() -> None:
    for line in re.findall(r"recsys (?:nightly|serve|import|search) [^\n`|]*", README):
        words = shlex.split(line.split(" && ")[0].rstrip(": ")) if "'" not in line else []
        if len(words) < 2:
            continue
        told = CliRunner().invoke(commands, [words[1], "--help"], env={"COLUMNS": "200"}).output
        for option in (word for word in words if word.startswith("--")):
            assert option in told or words[1] == "import", (option, told)


def test_the_openapi_description_is_valid_json_of_version_3_1(app: App) -> None:
    described = msgspec.json.decode(app.ask("GET", "/openapi.json").content)
    assert described["openapi"].startswith("3.1")
    assert set(described["paths"]) == {route.path for route in ROUTES}


def test_the_clock_of_the_examples_is_within_the_tolerance() -> None:
    # The lines for a shell take the time from `date`.
    times = re.findall(r'"timestamp": "([^"$]+)"', README)
    assert times
    for time in times:
        assert NOW - datetime.fromisoformat(time) < timedelta(days=30)
