"""`recsys`: the table of commands. Every command imports what it needs when it is called.

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
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import typer

from recsys.errors import InvalidInput, RecsysError
from training.cli import service_commands, train_commands, version_commands
from training.cli.terminal import BAD_USAGE, FAILED, LOCKED, hand_over, log_steps, report_error
from training.lock import Locked

app = typer.Typer(
    name="recsys",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Recommendations that learn by themselves: import, train, compare, publish, serve.",
    epilog="Example: `recsys demo --once` shows the whole on a synthetic shop; "
    "`recsys nightly --help` and its like explain a command.",
)


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
"""Commands with many options are imported only when they are called, with their own help."""


@app.command("import", **_HANDED_OVER)
def import_(context: typer.Context) -> None:
    """Bring a shop's history in: events, catalogue, profiles."""
    from training.cli.import_command import import_ as import_files

    hand_over(context, "import", import_files)


app.command(epilog="Example, as a cron line: `15 3 * * * recsys nightly --config shop.yaml`")(
    train_commands.nightly
)


@app.command("search", **_HANDED_OVER)
def search(context: typer.Context) -> None:
    """Find models, settings and blend weights for a shop."""
    from training.cli.search_command import search as search_recipe

    example = "Example: `recsys search --minutes 20 --out configs/mine.yaml`"
    hand_over(context, "search", search_recipe, epilog=example)


app.command(epilog="Example: `recsys compare 4 3 --config configs/training.yaml`")(
    train_commands.compare
)
app.command(epilog="Example: `recsys versions --workspace .recsys`")(version_commands.versions)
app.command(epilog="Example: `recsys status && echo all is well`")(version_commands.status)
app.command(epilog="Example: `recsys promote 4`")(version_commands.promote)
app.command(epilog="Example: `recsys rollback`")(version_commands.rollback)


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


@app.command(**_HANDED_OVER)
def benchmark(context: typer.Context) -> None:
    """Measure our models on public sets or your own, beside published figures."""
    from training.benchmark.command import benchmark as measure

    log_steps(sys.stdout)
    hand_over(context, "benchmark", measure)


app.command(epilog="Example: `recsys serve --config configs/serving.yaml --workers 2`")(
    service_commands.serve
)
app.command(
    epilog="Examples: `recsys doctor`, `recsys doctor --config configs/serving.yaml`, "
    "`recsys doctor --workspace /srv/shop --max-age-days 2`"
)(service_commands.doctor)
app.command(epilog="Example: `recsys ui --port 5000`, then open http://127.0.0.1:5000")(
    service_commands.ui
)
app.command(epilog="Example: `recsys demo --once`")(service_commands.demo)
