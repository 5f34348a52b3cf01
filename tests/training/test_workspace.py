"""The workspace names paths below one root and makes nothing until asked."""

from __future__ import annotations

from pathlib import Path

from training.workspace import Workspace


def test_naming_a_workspace_makes_nothing_and_create_makes_its_directories(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    files = (workspace.store, workspace.imports, workspace.mlflow_database, workspace.nightly_lock)
    folders = (
        workspace.event_log,
        workspace.rejected,
        workspace.published,
        workspace.mlflow_artifacts,
    )
    assert len({*files, *folders}) == 8
    assert all(path.parent == workspace.root for path in (*files, *folders))
    assert not workspace.root.exists()
    assert workspace.create().create() == workspace
    assert sorted(workspace.root.iterdir()) == sorted(folders)
