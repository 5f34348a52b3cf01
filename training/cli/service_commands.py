"""`recsys serve`, `doctor`, `ui`, `demo`: what starts or inspects services."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import (
    DEFAULT_WORKSPACE,
    OtherWorkspaceOption,
    WorkspaceOption,
    trained_workspace,
)
from training.cli.terminal import become, log_console, log_steps


def serve(
    config: Annotated[Path | None, typer.Option(help="YAML of the serving configuration.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; else as configured.")
    ] = None,
    workspace: OtherWorkspaceOption = None,
    host: Annotated[
        str | None, typer.Option(help="Address; any but loopback needs RECSYS_API_KEY.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="TCP port.")] = None,
) -> None:
    """Start the service; this process becomes it, so signals reach it directly."""
    given = {
        "--config": config,
        "--workers": workers,
        "--workspace": workspace,
        "--host": host,
        "--port": port,
    }
    become("serving", [f"{name}={value}" for name, value in given.items() if value is not None])


def doctor(
    config: Annotated[Path | None, typer.Option(help="YAML of the serving configuration.")] = None,
    workspace: OtherWorkspaceOption = None,
    host: Annotated[str | None, typer.Option(help="Address that the service listens on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="TCP port.")] = None,
    max_age_days: Annotated[
        float | None, typer.Option(min=0, help="How old a model may be; 8 where not given.")
    ] = None,
) -> None:
    """Look at configuration, store, bundles, port and libraries, and print what to repair.

    Exit code 0 where all is well, else 1."""
    given = {
        "--config": config,
        "--workspace": workspace,
        "--host": host,
        "--port": port,
        "--max-age-days": max_age_days,
    }
    options = [f"{name}={value}" for name, value in given.items() if value is not None]
    become("serving", ["doctor", *options])


def ui(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port on 127.0.0.1.")] = 5000,
) -> None:
    """Show runs and versions in MLflow's pages, on this machine alone."""
    trained = trained_workspace(workspace)
    hosts = f"localhost:{port},127.0.0.1:{port}"
    become(
        "mlflow",
        [
            "server",
            f"--backend-store-uri=sqlite:///{trained.mlflow_database.resolve()}",
            f"--default-artifact-root={trained.mlflow_artifacts.resolve().as_uri()}",
            "--no-serve-artifacts",
            "--host=127.0.0.1",
            f"--port={port}",
            "--workers=1",
            f"--allowed-hosts={hosts}",
        ],
        {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        },
    )


def demo(
    config: Annotated[Path, typer.Option(help="YAML of the demo.")] = Path("configs/demo.yaml"),
    once: Annotated[
        bool, typer.Option("--once", help="End after the tour instead of serving on.")
    ] = False,
    workspace: OtherWorkspaceOption = None,
) -> None:
    """Make a synthetic shop, train on it, serve it, and show answers before and after clicks."""
    from training.cli.demo import DemoConfig, run
    from training.config import read_yaml

    settings = read_yaml(config, DemoConfig)
    if workspace is not None:
        training = settings.training.model_copy(update={"workspace": workspace})
        settings = settings.model_copy(update={"training": training})
    log_steps(sys.stdout)
    run(settings, console=log_console(), now=datetime.now(UTC), once=once)
