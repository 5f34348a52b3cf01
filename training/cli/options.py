"""Options and workspaces that several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from recsys.errors import InvalidInput
from training.lock import FileLock
from training.workspace import Workspace

if TYPE_CHECKING:  # `recsys --help` loads neither MLflow nor NumPy
    from training.config import TrainingConfig
    from training.tracking import Tracking

ConfigOption = Annotated[
    Path, typer.Option("--config", help="YAML of the training configuration.", show_default=True)
]
WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", help="Directory of store, event log, MLflow and bundles.")
]
OtherWorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", help="Directory of store, event log, MLflow and bundles."),
]
"""For commands whose configuration names a workspace, which this replaces."""
DEFAULT_CONFIG: Final = Path("configs/training.yaml")
DEFAULT_WORKSPACE: Final = Workspace().root


def training_config(path: Path, workspace: Path | None) -> TrainingConfig:
    """The configuration in a file, with the workspace of the command line where it names one."""
    from training.config import load_config

    config = load_config(path)
    return config if workspace is None else config.model_copy(update={"workspace": workspace})


def trained_workspace(root: Path) -> Workspace:
    """The workspace there; InvalidInput where nothing was trained in it yet."""
    workspace = Workspace(root)
    if not workspace.mlflow_database.is_file():
        raise InvalidInput(
            "--workspace", str(root), "nothing was trained there yet; run recsys nightly first"
        )
    return workspace


def tracking_of(workspace: Workspace) -> Tracking:
    """The tracking of a workspace; MLflow is imported only here."""
    from training.tracking import Tracking

    return Tracking.of(workspace)


@contextmanager
def locked(root: Path) -> Iterator[tuple[Workspace, Tracking]]:
    """The workspace and its tracking, held against the nightly run; Locked where that runs."""
    workspace = trained_workspace(root)
    with FileLock(workspace.nightly_lock).hold():
        yield workspace, tracking_of(workspace)
