"""`recsys search` as a command of its own; `cli` calls it."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from training.cli.terminal import console, log_console, log_steps
from training.config import load_config, overridden
from training.search.run import run


def search(
    config: Annotated[
        Path, typer.Option("--config", help="YAML to start from: a training configuration.")
    ] = Path("configs/search.yaml"),
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Time in all; else as configured.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="YAML file for the winner, as recsys nightly takes it.")
    ] = None,
    workspace: Annotated[
        Path | None,
        typer.Option(help="Directory of store, event log, MLflow and bundles."),
    ] = None,
    test_from: Annotated[
        datetime | None, typer.Option(help="First moment (UTC) that nothing is chosen on.")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="clicks, conversions, revenue or returning_customers."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--anew", help="Go on with a search that was stopped.")
    ] = True,
) -> None:
    """Find models, settings and blend weights on validation days, then measure them once.

    Nothing is published: `recsys nightly --config FILE` trains the winner and lets the gate decide.
    A search that was killed goes on with the same command.
    """
    settings = overridden(
        load_config(config), minutes=minutes, test_from=test_from, objective=objective
    )
    if workspace is not None:
        settings = settings.model_copy(update={"workspace": workspace})
    log_steps(sys.stdout)
    run(
        settings,
        console=log_console(),
        started=datetime.now(UTC),
        clock=time.monotonic,
        out=out,
        resume=resume,
    )
    if out is not None:
        console().print(f"[green]Wrote {out}.[/] Train it: recsys nightly --config {out}")
