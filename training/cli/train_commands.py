"""`recsys nightly` and `recsys compare`: what fits recipes and measures them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from recsys.errors import RecsysError
from training.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    OtherWorkspaceOption,
    training_config,
)
from training.cli.tables import comparison_table
from training.cli.terminal import BAD_DATA, console, log_console, log_steps, report_error
from training.lock import Locked

if TYPE_CHECKING:
    from training.pipeline.nightly import NightlyOutcome


def nightly(
    config: ConfigOption = DEFAULT_CONFIG,
    data: Annotated[
        Path | None, typer.Option(help="File or directory to import before training.")
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(help="JSON file for decision, reasons, costs and metrics.")
    ] = None,
    register_only: Annotated[
        bool, typer.Option("--register-only", help="Promote nothing; register the challenger.")
    ] = False,
    workspace: OtherWorkspaceOption = None,
) -> None:
    """Train, compare with the champion, and publish what deserves it; safe to kill at any moment.

    A refused candidate is no failure: exit code 0, and the champion's recipe on the fresh data
    serves. 3 means that
    another run is under way, 4 that the data are not fit for training.
    """
    from training.pipeline.intake import ChecksFailed, ImportRefused
    from training.pipeline.nightly import run
    from training.pipeline.report import write_summary

    settings = training_config(config, workspace)
    log_steps(sys.stdout)
    try:
        outcome = run(
            settings,
            console=log_console(),
            started=datetime.now(UTC),
            data=data,
            register_only=register_only,
        )
    except Locked:
        raise
    except RecsysError as error:
        if summary is not None:
            write_summary({"decision": "failed", "reasons": [str(error)]}, summary)
        if not isinstance(error, ChecksFailed | ImportRefused):
            raise
        report_error(error)
        raise typer.Exit(BAD_DATA) from error
    if summary is not None:
        write_summary(outcome.summary, summary)
    _show(outcome)


def _show(outcome: NightlyOutcome) -> None:
    out = console()
    if outcome.promoted:
        out.print(f"[green]Published version {outcome.version}.[/]", highlight=False)
        return
    if outcome.refreshed is not None:
        out.print(
            f"[green]Refreshed the champion's recipe: published version {outcome.refreshed}.[/]",
            highlight=False,
        )
    else:
        out.print("[yellow]Not promoted; the champion goes on serving.[/]")
    if outcome.version is not None:
        out.print(f"Version {outcome.version} is the challenger.", highlight=False)


def compare(
    first: Annotated[str, typer.Argument(help="A registered version, such as 4.")],
    second: Annotated[str, typer.Argument(help="The version to compare it with.")],
    config: ConfigOption = DEFAULT_CONFIG,
    workspace: OtherWorkspaceOption = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every measure at every k, not the chief ones alone.")
    ] = False,
) -> None:
    """Fit two versions' recipes at the same cut and show the paired differences of their measures.

    The difference is the first minus the second on the same customers; it is coloured where its
    95% interval leaves zero out.
    """
    from training.pipeline.compare import compare as compare_recipes
    from training.pipeline.report import SHOWN
    from training.progress import Steps

    settings = training_config(config, workspace)
    log_steps(sys.stderr)
    with Steps(Console(stderr=True), "compare").step("compare") as step:
        comparison = compare_recipes(
            first, second, config=settings, now=datetime.now(UTC), reporter=step
        )
    console().print(comparison_table(comparison, names=None if every else SHOWN))
    if comparison.same_recipe:
        console().print("Both versions have the same recipe; they differ in their data alone.")
