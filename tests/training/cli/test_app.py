"""The command line: what it does, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.bundle.publication import read_publication
from training.cli.app import app, main
from training.lock import FileLock
from training.pipeline.publish import promote
from training.workspace import Workspace

Register = Callable[..., str]
MakeBundle = Callable[..., Path]
Recsys = Callable[..., "Ended"]


class Ended:
    """How a command ended: exit code and what it wrote, in one line each."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = " ".join(out.split())
        self.err = " ".join(err.split())


@pytest.fixture
def recsys(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Recsys:
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return Ended(int(ended.value.code or 0), written.out, written.err)

    return run


SERVE = """
import sys
from training.cli.app import main
main(["serve", "--config", sys.argv[1], "--workers", "2"])
"""


def champion(workspace: Workspace) -> str:
    publication = read_publication(workspace.published)
    assert publication is not None
    return publication.champion.model_version


def names() -> list[str]:
    return [command.name or command.callback.__name__ for command in app.registered_commands]


def test_help_needs_neither_mlflow_nor_numpy() -> None:
    code = (
        "import sys, training.cli.app\n"
        "try: training.cli.app.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*(name for name in ('mlflow', 'numpy', 'pandas', 'duckdb', 'matplotlib', 'bentoml')"
        " if name in sys.modules), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr.strip() == ""
    assert all(name in ended.stdout for name in names())
    assert "Example: recsys demo --once" in ended.stdout


@pytest.mark.parametrize("name", [name for name in names() if name != "import"])
def test_every_command_has_help_with_an_example(name: str, recsys: Recsys) -> None:
    ended = recsys(name, "--help")
    assert ended.code == 0
    assert f"recsys {name}" in ended.out.split("xample", 1)[1]


def test_the_import_command_forwards_its_options(recsys: Recsys, tmp_path: Path) -> None:
    ended = recsys("import", "--help")
    assert ended.code == 0
    assert "--consent" in ended.out
    items = tmp_path / "items.jsonl"
    items.write_text('{"item_id": "sku-1", "title": "Mug"}\n')
    ended = recsys("import", "--items", items, "--workspace", tmp_path / "shop")
    assert ended.code == 0
    assert (tmp_path / "shop" / "imports.jsonl").exists()
    assert recsys("import").code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["promote"],
        ["serve", "--workers", "0"],
        ["nightly", "--config", "missing.yaml"],
        ["compare", "1", "2", "--config", "missing.yaml"],
        ["demo", "--config", "missing.yaml"],
        ["status", "--workspace", "missing"],
        ["versions", "--workspace", "missing"],
        ["promote", "1", "--workspace", "missing"],
        ["ui", "--workspace", "missing"],
    ],
)
def test_bad_usage_ends_with_2_and_makes_nothing(
    arguments: list[str], recsys: Recsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = recsys(*arguments)
    assert ended.code == 2
    assert ended.err
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_the_key_and_the_value(recsys: Recsys, tmp_path: Path) -> None:
    config = tmp_path / "shop.yaml"
    config.write_text("recipe:\n  window_days: -3\n")
    ended = recsys("nightly", "--config", config)
    assert ended.code == 2
    assert ended.err.startswith("Error: ")
    assert "recipe.window_days is -3" in ended.err


def test_a_night_without_events_ends_with_1_and_the_summary_says_why(
    recsys: Recsys, tmp_path: Path, workspace: Workspace
) -> None:
    config, summary = tmp_path / "shop.yaml", tmp_path / "summary.json"
    config.write_text("{}")
    ended = recsys(
        "nightly", "--config", config, "--workspace", workspace.root, "--summary", summary
    )
    assert ended.code == 1
    assert "empty" in ended.err
    written = json.loads(summary.read_text())
    assert written["decision"] == "failed"
    assert "empty" in written["reasons"][0]
    line = re.search(r"\S+Z ERROR training\.nightly step=read seconds=\S+ message=", ended.out)
    assert line is not None, ended.out


def test_while_another_run_holds_the_lock_every_moving_command_ends_with_3(
    recsys: Recsys, tmp_path: Path, registry
) -> None:
    workspace = registry.workspace
    for version in ("night-1", "night-2"):
        promote(registry.tracking, registry.number[version], root=registry.root)
    config = tmp_path / "shop.yaml"
    config.write_text("{}")
    option = ("--workspace", workspace.root)
    with FileLock(workspace.nightly_lock).hold():
        assert recsys("promote", "1", *option).code == 3
        assert recsys("rollback", *option).code == 3
        assert recsys("nightly", "--config", config, *option).code == 3
        assert "under way" in recsys("status", *option).out
    assert champion(workspace) == "night-2"


def test_promote_and_rollback_move_registry_and_pointer(recsys: Recsys, registry) -> None:
    workspace, tracking = registry.workspace, registry.tracking
    option = ("--workspace", workspace.root)
    assert recsys("promote", "1", *option).code == 0
    ended = recsys("promote", "2", *option)
    assert ended.code == 0
    assert "Champion is version 2 (night-2)" in ended.out
    assert (tracking.champion().version, champion(workspace)) == ("2", "night-2")
    ended = recsys("rollback", *option)
    assert ended.code == 0
    assert "Champion is version 1 again (night-1)" in ended.out
    assert (tracking.champion().version, champion(workspace)) == ("1", "night-1")
    ended = recsys("rollback", *option)
    assert ended.code == 1
    assert ended.err.startswith("Error: No champion before")
    ended = recsys("promote", "70", *option)
    assert ended.code == 1
    assert "no version '70'; it has 7, 6, 5" in ended.err


def test_versions_shows_aliases_measures_and_what_is_served(recsys: Recsys, registry) -> None:
    promote(registry.tracking, registry.number["night-1"], root=registry.root)
    registry.tracking.set_alias("challenger", registry.number["night-2"])
    ended = recsys("versions", "--workspace", registry.workspace.root)
    assert ended.code == 0
    assert "champion, served" in ended.out
    assert "challenger" in ended.out
    assert "0.2500" in ended.out
    assert ended.out.index("night-2") < ended.out.index("night-1")


def test_status_ends_with_1_and_tells_the_remedy_where_registry_and_service_disagree(
    recsys: Recsys, registry
) -> None:
    option = ("--workspace", registry.workspace.root)
    ended = recsys("status", *option)
    assert ended.code == 1
    assert "run recsys nightly" in ended.out
    promote(registry.tracking, registry.number["night-1"], root=registry.root)
    assert recsys("status", *option).code == 0
    registry.tracking.promote(registry.number["night-2"])
    ended = recsys("status", *option)
    assert ended.code == 1
    assert "recsys promote 2" in ended.out
    assert recsys("promote", "2", *option).code == 0
    ended = recsys("status", *option)
    assert ended.code == 0
    assert "rollback goes to 1" in ended.out


def test_serve_becomes_the_serving_package_with_the_options_given(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SERVE, str(tmp_path / "missing.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "missing.yaml" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_ctrl_c_ends_with_130() -> None:
    code = (
        "import signal, sys, training.cli.app\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@training.cli.app.app.command('wait')\n"
        "def wait():\n"
        "    print('waiting', flush=True)\n"
        "    sys.stdin.read()\n"
        "training.cli.app.main(['wait'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "waiting\n"
        os.kill(process.pid, signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
