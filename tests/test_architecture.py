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

OFFENCES = {
    "training and serving stand side by side on recsys": (
        "recsys/ids.py",
        "from training import workspace",
    ),
    "inside recsys, imports point down": (
        "recsys/events/schema.py",
        "from recsys import evaluation",
    ),
    "inside serving, imports point down": ("serving/api/schemas.py", "from serving import worker"),
    "inside training, imports point down": ("training/workspace.py", "from training import cli"),
    "no folder has a circle inside, not even for types": (
        "recsys/query/history.py",
        "if TYPE_CHECKING:\n    from recsys.query import query",
    ),
    "only training.tracking knows MLflow": ("training/pipeline/gate.py", "import mlflow"),
    "only serving.service knows BentoML": ("serving/use_cases/recommend.py", "import bentoml"),
    "only the hybrid model knows LightFM": (
        "recsys/models/factorisation/als.py",
        "import lightfm",
    ),
    "only training.search knows Optuna": ("training/fitting/trial.py", "import optuna"),
    "the library knows no HTTP, no command line, no scheduler": (
        "recsys/recommend/operations.py",
        "import httpx",
    ),
    "the service never trains": ("serving/live/versions.py", "import pickle"),
}
"""Contract → a file and the import that breaks it."""
LAYERED = tuple(name for name in OFFENCES if name.startswith("inside "))
FILES_IN_A_FOLDER = 13


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
    output = lint(copy)
    assert "0 broken" in output, output
    assert f"{len(contracts())} kept" in output


def test_every_contract_is_broken_by_an_import_against_it(copy: Path) -> None:
    assert set(OFFENCES) == contracts()
    for file, offence in OFFENCES.values():
        path = copy / file
        path.write_text(path.read_text() + f"\n{offence}\n")
    output = lint(copy)
    for name in contracts():
        assert f"{name} BROKEN" in output, output


def test_a_new_file_must_find_its_layer(copy: Path) -> None:
    for package in PACKAGES:
        (copy / package / "somewhere.py").write_text('"""A file without a layer."""\n')
    output = lint(copy)
    assert len(LAYERED) == len(PACKAGES)
    for name in LAYERED:
        assert f"{name} BROKEN" in output, output


def test_a_folder_holds_no_more_files_than_one_looks_through() -> None:
    for package in PACKAGES:
        for folder in [ROOT / package, *(ROOT / package).rglob("*/")]:
            files = [file.name for file in folder.glob("*.py") if file.name != "__init__.py"]
            assert len(files) <= FILES_IN_A_FOLDER, f"{folder.relative_to(ROOT)}: {sorted(files)}"
