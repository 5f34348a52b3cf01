"""The import contracts hold, and each of them breaks when an import is turned round."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("recsys", "training", "serving")

TURNED_ROUND = {
    "training and serving stand side by side on recsys": (
        "recsys/ids.py",
        "from training import workspace",
    ),
    "inside recsys, imports point down": (
        "recsys/events/schema.py",
        "from recsys import evaluation",
    ),
    "only training.tracking knows MLflow": ("training/pipeline/gate.py", "import mlflow"),
    "only serving.service knows BentoML": ("serving/use_cases/recommend.py", "import bentoml"),
    "only the hybrid model knows LightFM": ("recsys/models/factorisation/als.py", "import lightfm"),
    "only training.search.rounds knows Optuna": ("training/fitting/trial.py", "import optuna"),
    "the library knows no HTTP, no command line, no scheduler": (
        "recsys/recommend/operations.py",
        "import httpx",
    ),
    "the service never trains": ("serving/live/variants.py", "import pickle"),
}


def contracts() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]}


def lint(directory: Path) -> str:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache", "--config", "pyproject.toml"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(directory), "PATH": "", "COLUMNS": "200"},
    )
    return done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The three packages and their settings, free to be spoilt."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def test_every_contract_is_kept(copy: Path) -> None:
    told = lint(copy)
    assert "0 broken" in told, told
    assert f"{len(contracts())} kept" in told


def test_every_contract_breaks_when_an_import_is_turned_round(copy: Path) -> None:
    assert set(TURNED_ROUND) == contracts()
    for file, offence in TURNED_ROUND.values():
        path = copy / file
        path.write_text(path.read_text() + f"\n{offence}\n")
    told = lint(copy)
    for name in contracts():
        assert f"{name} BROKEN" in told, told
