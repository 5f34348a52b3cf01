"""A workspace that was moved or copied reads and writes its own files alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from training.tracking import Tracking, load_model
from training.workspace import Workspace

MakeBundle = Callable[..., Path]
Register = Callable[..., str]


@pytest.fixture
def notebook(request: pytest.FixtureRequest) -> object:
    """MLflow's process-wide state, put back afterwards."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def files(workspace: Workspace) -> dict[Path, bytes]:
    return {
        path.relative_to(workspace.root): path.read_bytes()
        for path in workspace.root.rglob("*")
        if path.is_file() and path.parent.name != ".running"
    }


def register_another(tracking: Tracking, bundle: Path) -> str:
    with tracking.run("nightly", params={}, tags={}) as run:
        run.log_dict({"seed": 8}, "recipe.json")
        run.log_bundle(bundle)
        return tracking.register(run)


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_workspace_elsewhere_touches_its_files_alone(
    how: str,
    workspace: Workspace,
    register: Register,
    make_bundle: MakeBundle,
    tmp_path: Path,
    notebook: object,
) -> None:
    first = register("v1")
    Tracking.of(workspace).promote(first)
    original = files(workspace)
    elsewhere = Workspace(tmp_path / "else where")
    if how == "moved":
        shutil.move(workspace.root, elsewhere.root)
    else:
        shutil.copytree(workspace.root, elsewhere.root)
    tracking = Tracking.of(elsewhere)
    second = register_another(tracking, make_bundle("v2"))
    for version in (first, second):
        assert tracking.bundle_directory(version).is_relative_to(elsewhere.root.resolve())
    assert tracking.version(first).recipe == {"seed": 7}
    mlflow.set_tracking_uri(tracking.uri)
    mlflow.set_registry_uri(tracking.uri)
    assert load_model("models:/recsys@champion").bundle.model_version == "v1"
    assert load_model(f"models:/recsys/{second}").bundle.model_version == "v2"
    client = MlflowClient(tracking_uri=tracking.uri, registry_uri=tracking.uri)
    for run in client.search_runs([tracking.experiment_id]):
        assert run.info.artifact_uri.startswith(elsewhere.mlflow_artifacts.resolve().as_uri())
    assert workspace.root.exists() == (how == "copied")
    if how == "copied":
        assert files(workspace) == original
