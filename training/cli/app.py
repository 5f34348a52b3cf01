"""`recsys`: the command line. Every command imports what it needs when it is called.

Exit codes, for a cron:
    0  done; a candidate that the gate refused is a normal night and ends with 0
    1  failed, and the message says why; the champion goes on serving. Also what `status` ends with
       where the service and the registry disagree
    2  bad usage or configuration
    3  another run holds the workspace's lock
    4  the data are not fit for training: checks failed, or too many rows were rejected
    130  stopped by Ctrl-C
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from recsys.errors import InvalidInput, RecsysError
from training.cli.tables import comparison_table, remedy, versions_table
from training.cli.terminal import (
    become,
    console,
    hand_over,
    log_console,
    log_steps,
    report_error,
)
from training.lock import FileLock, Locked
from training.workspace import Workspace

if TYPE_CHECKING:
    from training.config import TrainingConfig
    from training.tracking import Tracking

FAILED: Final = 1
BAD_USAGE: Final = 2
LOCKED: Final = 3
BAD_DATA: Final = 4

app = typer.Typer(
    name="recsys",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Recommendations that learn by themselves: import, train, compare, publish, serve.",
)

ConfigOption = Annotated[
    Path, typer.Option("--config", help="YAML of the training configuration.", show_default=True)
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", help="Directory of store, event log, MLflow and bundles."),
]
PlaceOption = Annotated[
    Path, typer.Option("--workspace", help="Directory of store, event log, MLflow and bundles.")
]
DEFAULT_CONFIG: Final = Path("configs/training.yaml")
DEFAULT_WORKSPACE: Final = Workspace().root


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command and ends the process with its exit code."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="recsys")
    except RecsysError as error:
        report_error(error)
        code = LOCKED if isinstance(error, Locked) else FAILED
        sys.exit(BAD_USAGE if isinstance(error, InvalidInput) else code)
    sys.exit(0)


_HANDED_OVER: Final[dict[str, Any]] = {
    "add_help_option": False,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
}
"""Commands with many options live in files of their own, which are read when they are called."""


@app.command("import", **_HANDED_OVER)
def import_(context: typer.Context) -> None:
    """Bring a shop's history in: events, catalogue, profiles; `recsys import --help` tells more."""
    from training.cli.import_command import import_ as import_files

    hand_over(context, "import", import_files)


@app.command(**_HANDED_OVER)
def benchmark(context: typer.Context) -> None:
    """Measure our models on public sets or your own, beside published figures."""
    from training.benchmark.command import benchmark as measure

    hand_over(context, "benchmark", measure)


@app.command("experiment", **_HANDED_OVER)
def experiment(context: typer.Context) -> None:
    """Serve two versions side by side: start, stop, status, report."""
    from training.cli.experiment_command import experiment as run_experiment

    run_experiment(args=context.args, prog_name="recsys experiment")


@app.command("kpi", **_HANDED_OVER)
def kpi(context: typer.Context) -> None:
    """Show what the answers brought, day by day: clicks, sales, who came back."""
    from training.cli.experiment_command import kpi as show_kpi

    hand_over(context, "kpi", show_kpi, epilog="Example: `recsys kpi --days 28`")


@app.command(epilog="Example, as a cron line: `15 3 * * * recsys nightly --config shop.yaml`")
def nightly(
    config: ConfigOption = DEFAULT_CONFIG,
    data: Annotated[
        Path | None, typer.Option(help="File or directory to import before training.")
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(help="JSON file for decision, reasons, costs and metrics.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Train, compare with the champion, and publish what deserves it; safe to kill at any moment.

    A refused candidate is no failure: exit code 0, and the champion goes on serving. 3 means that
    another run is under way, 4 that the data are not fit for training.
    """
    from training.pipeline.intake import ChecksFailed, ImportRefused
    from training.pipeline.nightly import run
    from training.pipeline.report import write_summary

    settings = _config(config, workspace)
    log_steps(sys.stdout)
    try:
        outcome = run(settings, console=log_console(), started=datetime.now(UTC), data=data)
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
    if outcome.promoted:
        console().print(f"[green]Published version {outcome.version}.[/]", highlight=False)
    else:
        console().print("[yellow]Not promoted; the champion goes on serving.[/]")


@app.command("search", **_HANDED_OVER)
def search(context: typer.Context) -> None:
    """Find models, settings and blend weights for a shop; `recsys search --help` tells more."""
    from training.cli.search_command import search as find

    example = "Example: `recsys search --minutes 20 --out configs/mine.yaml`"
    hand_over(context, "search", find, epilog=example)


@app.command(epilog="Example: `recsys compare 4 3 --config configs/training.yaml`")
def compare(
    first: Annotated[str, typer.Argument(help="A registered version, such as 4.")],
    second: Annotated[str, typer.Argument(help="The version to compare it with.")],
    config: ConfigOption = DEFAULT_CONFIG,
    workspace: WorkspaceOption = None,
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

    settings = _config(config, workspace)
    log_steps(sys.stderr)
    with Steps(Console(stderr=True), "compare").step("compare") as step:
        comparison = compare_recipes(
            first, second, config=settings, now=datetime.now(UTC), reporter=step
        )
    console().print(comparison_table(comparison, names=None if every else SHOWN))
    if comparison.same_recipe:
        console().print("Both versions have the same recipe; they differ in their data alone.")


@app.command(epilog="Example: `recsys promote 4`")
def promote(
    version: Annotated[str, typer.Argument(help="A registered version; see recsys versions.")],
    workspace: PlaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Make a version the champion, in MLflow and in the running service.

    The bundle is verified and asked before anything moves. Doing it again finishes what a killed
    process has begun.
    """
    from training.pipeline.publish import promote as promote_version

    with _locked(workspace) as (place, tracking):
        publication = promote_version(tracking, version, root=place.published, keep=None)
    console().print(
        f"[green]Champion is version {version}[/] ({publication.champion.model_version}).",
        highlight=False,
    )


@app.command(epilog="Example: `recsys rollback`")
def rollback(workspace: PlaceOption = DEFAULT_WORKSPACE) -> None:
    """Make the champion before the present one champion again; can be repeated.

    MLflow and the running service go back together.
    """
    from training.pipeline.publish import roll_back

    with _locked(workspace) as (place, tracking):
        publication = roll_back(tracking, root=place.published, keep=None)
        restored = tracking.champion()
    number = "?" if restored is None else restored.version
    console().print(
        f"[green]Champion is version {number} again[/] ({publication.champion.model_version}).",
        highlight=False,
    )


@app.command(epilog="Example: `recsys versions --workspace .recsys`")
def versions(workspace: PlaceOption = DEFAULT_WORKSPACE) -> None:
    """List the registered versions, newest first, with their measures."""
    from training.pipeline.publish import served_version

    place = _existing(workspace)
    console().print(
        versions_table(_tracking(place).versions(), served=served_version(place.published))
    )


@app.command(epilog="Example: `recsys status && echo all is well`")
def status(workspace: PlaceOption = DEFAULT_WORKSPACE) -> None:
    """Show the champion in MLflow, what the service follows, and whether the two agree.

    Ends with 1 where they do not, and says how to mend it.
    """
    from recsys.bundle.publication import CHAMPION
    from training.pipeline.publish import served_version

    place = _existing(workspace)
    tracking = _tracking(place)
    found = tracking.versions()
    champion = next((one for one in found if CHAMPION in one.aliases), None)
    served = served_version(place.published)
    out = console()
    named = "none" if champion is None else f"version {champion.version} ({champion.model_version})"
    out.print(f"champion in MLflow   {named}", highlight=False)
    out.print(f"served               {served or 'nothing'}", highlight=False)
    earlier = ", ".join(reversed(tracking.previous_champions()))
    out.print(f"rollback goes to     {earlier or 'nothing'}", highlight=False)
    running = FileLock(place.nightly_lock).is_held()
    out.print(f"nightly run          {'under way' if running else 'none'}", highlight=False)
    out.print(versions_table(found[:10], served=served))
    mend = remedy(champion, served)
    if mend is not None and not running:
        out.print(f"[red]{escape(mend)}[/]", highlight=False)
        raise typer.Exit(FAILED)


@app.command(epilog="Example: `recsys serve --config configs/serving.yaml --workers 2`")
def serve(
    config: Annotated[Path | None, typer.Option(help="YAML of the serving configuration.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; else as configured.")
    ] = None,
    workspace: WorkspaceOption = None,
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


@app.command(
    epilog="Examples: `recsys doctor`, `recsys doctor --config configs/serving.yaml`, "
    "`recsys doctor --workspace /srv/shop --max-age-days 2`"
)
def doctor(
    config: Annotated[Path | None, typer.Option(help="YAML of the serving configuration.")] = None,
    workspace: WorkspaceOption = None,
    host: Annotated[str | None, typer.Option(help="Address that the service listens on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="TCP port.")] = None,
    max_age_days: Annotated[
        float | None, typer.Option(min=0, help="How old a model may be; 8 where not given.")
    ] = None,
) -> None:
    """Look at configuration, store, bundles, port and libraries, and say what to mend.

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


@app.command(epilog="Example: `recsys ui --port 5000`, then open http://127.0.0.1:5000")
def ui(
    workspace: PlaceOption = DEFAULT_WORKSPACE,
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port on 127.0.0.1.")] = 5000,
) -> None:
    """Show runs and versions in MLflow's pages, on this machine alone."""
    place = _existing(workspace)
    hosts = f"localhost:{port},127.0.0.1:{port}"
    become(
        "mlflow",
        [
            "server",
            f"--backend-store-uri=sqlite:///{place.mlflow_database.resolve()}",
            f"--default-artifact-root={place.mlflow_artifacts.resolve().as_uri()}",
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


@app.command(epilog="Example: `recsys demo --once`")
def demo(
    config: Annotated[Path, typer.Option(help="YAML of the demo.")] = Path("configs/demo.yaml"),
    once: Annotated[
        bool, typer.Option("--once", help="End after the tour instead of serving on.")
    ] = False,
    workspace: WorkspaceOption = None,
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


def _config(path: Path, workspace: Path | None) -> TrainingConfig:
    from training.config import load_config

    settings = load_config(path)
    return settings if workspace is None else settings.model_copy(update={"workspace": workspace})


def _existing(root: Path) -> Workspace:
    place = Workspace(root)
    if not place.mlflow_database.is_file():
        raise InvalidInput(
            "--workspace", str(root), "nothing was trained there yet; run recsys nightly first"
        )
    return place


def _tracking(place: Workspace) -> Tracking:
    from training.tracking import Tracking

    return Tracking.of(place)


@contextmanager
def _locked(root: Path) -> Iterator[tuple[Workspace, Tracking]]:
    """The workspace and its tracking, held against the nightly run; Locked where that runs."""
    place = _existing(root)
    with FileLock(place.nightly_lock).hold():
        yield place, _tracking(place)
