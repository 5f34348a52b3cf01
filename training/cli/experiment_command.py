"""`recsys experiment` and `recsys kpi` as commands of their own; `cli` calls them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import msgspec
import typer
from rich.markup import escape

from recsys.atomic_files import write_atomically
from recsys.bundle.publication import CHAMPION, read_publication
from recsys.errors import InvalidInput
from recsys.events.log import EventLog
from recsys.experiments.ab_test import ExperimentRules, Measure
from recsys.experiments.attribution import AttributionRules
from recsys.experiments.summary import SHOWN_DAYS, shop_figures
from recsys.store.sqlite import SQLiteStore
from training.cli.tables import experiment_table, kpi_table
from training.cli.terminal import console, log_console
from training.lock import FileLock
from training.pipeline.experiments import ExperimentOutcome, records
from training.pipeline.experiments import report as report_on
from training.pipeline.experiments import start as start_experiment
from training.pipeline.experiments import stop as stop_experiment
from training.tracking import Tracking
from training.workspace import Workspace

DEFAULT_WORKSPACE: Final = Workspace().root

PlaceOption = Annotated[
    Path, typer.Option("--workspace", help="Directory of store, event log, MLflow and bundles.")
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="File for the same figures as JSON.")
]

experiment = typer.Typer(
    name="recsys experiment",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Serve two versions side by side and say which is better.",
    epilog="Example: `recsys experiment start --variant champion=90 --variant challenger=10`",
)


@experiment.command(
    epilog="Example: `recsys experiment start --variant champion=50 --variant 7=50`"
)
def start(
    variant: Annotated[
        list[str],
        typer.Option(
            help="NAME=SHARE: champion, challenger, a registered version's number or a published "
            "model version; shares in proportion."
        ),
    ],
    id: Annotated[
        str | None, typer.Option("--id", help="What to call it; else the date and time.")
    ] = None,
    aa: Annotated[
        bool, typer.Option("--aa", help="Allow variants of one version, to test the split itself.")
    ] = False,
    workspace: PlaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Serve these versions side by side. Every person keeps their variant, also after logging in.

    The nightly run goes on: it may refit the champion, which keeps its persons.
    """
    now = datetime.now(UTC)
    with _held(workspace) as held:
        record = start_experiment(
            held, _tracking(held), _shares(variant), id=id or f"{now:%Y%m%d-%H%M%S}", at=now, aa=aa
        )
    for name, share in record.shares.items():
        console().print(f"{name:<16}{share:>7.1%}  {record.versions[name]}", highlight=False)
    console().print(f"[green]Experiment {record.id} is running.[/]", highlight=False)


@experiment.command(epilog="Example: `recsys experiment stop`")
def stop(workspace: PlaceOption = DEFAULT_WORKSPACE) -> None:
    """End the experiment: everybody gets the champion; `recsys promote` takes a challenger."""
    with _held(workspace) as held:
        record = stop_experiment(held, at=datetime.now(UTC))
    console().print(f"[green]Experiment {record.id} has ended.[/]", highlight=False)


@experiment.command(epilog="Example: `recsys experiment status`")
def status(workspace: PlaceOption = DEFAULT_WORKSPACE) -> None:
    """Show what runs now, and the experiments before."""
    shop = Workspace(workspace)
    publication = read_publication(shop.published)
    running = None if publication is None else publication.experiment
    if publication is None or running is None:
        console().print("No experiment is running.")
    else:
        console().print(f"{running.id} runs since {running.started_at:%Y-%m-%d %H:%M} UTC")
        for variant in publication.variants:
            console().print(
                f"  {variant.name:<16}{variant.share:>7.1%}  {variant.model_version}",
                highlight=False,
            )
    for record in reversed(records(shop)):
        if record.ended_at is not None:
            names = ", ".join(f"{name} {share:.0%}" for name, share in record.shares.items())
            lasted = f"{record.started_at:%Y-%m-%d} to {record.ended_at:%Y-%m-%d}"
            console().print(f"{record.id}  {lasted}  {names}", highlight=False)


@experiment.command(epilog="Example: `recsys experiment report --primary revenue_per_visitor`")
def report(
    id: Annotated[str | None, typer.Argument(help="The experiment; else the newest.")] = None,
    primary: Annotated[
        str, typer.Option(help=f"What decides: {', '.join(get_args(Measure))}.")
    ] = ExperimentRules().primary,
    min_days: Annotated[
        float, typer.Option(min=0, help="How long it must run before its verdict counts.")
    ] = ExperimentRules().min_days,
    window_days: Annotated[
        float, typer.Option(min=0.01, max=90, help="How long an answer may claim an outcome.")
    ] = AttributionRules().window_days,
    json: JsonOption = None,
    workspace: PlaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Join outcomes to logged answers, compare the variants, and write the result to MLflow.

    Measures per person with 95% intervals, lift, sample-ratio check, and a verdict in words.
    """
    if primary not in get_args(Measure):
        raise InvalidInput("--primary", primary, f"use one of {', '.join(get_args(Measure))}")
    shop = Workspace(workspace)
    tracking = _tracking(shop)
    with _store(shop) as store:
        outcome = report_on(
            shop,
            store,
            tracking,
            id=id,
            now=datetime.now(UTC),
            rules=ExperimentRules.model_validate({"primary": primary, "min_days": min_days}),
            attribution=AttributionRules(window_days=window_days),
        )
    _show(outcome)
    if json is not None:
        json.write_bytes((outcome.folder / "report.json").read_bytes())


def kpi(
    days: Annotated[
        int, typer.Option(min=1, max=400, help="How many days, today included.")
    ] = SHOWN_DAYS,
    json: JsonOption = None,
    workspace: PlaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Show what the answers brought, day by day: clicks, carts, sales by placement, and returns.

    Run every hour, it also gives `GET /v1/kpi` its figures in a shop with very many answers.
    """
    shop = Workspace(workspace)
    publication = read_publication(shop.published)
    variants = [] if publication is None else publication.variants
    with _store(shop) as store:
        figures = shop_figures(
            store,
            EventLog(shop.event_log),
            now=datetime.now(UTC),
            shares={variant.name: variant.share for variant in variants},
            experiment=None if publication is None else publication.experiment,
            days=days,
        )
    content = msgspec.json.format(msgspec.json.encode(figures), indent=2)
    write_atomically(shop.kpi, content)
    for table in kpi_table(figures):
        console().print(table)
    if json is not None:
        json.write_bytes(content)


def _show(outcome: ExperimentOutcome) -> None:
    out = log_console()
    out.print(experiment_table(outcome.report, outcome.record))
    for sentence in outcome.report.verdict:
        out.print(f"[bold]{escape(sentence)}[/]", highlight=False)
    report = outcome.report
    out.print(
        f"Sample ratio p = {report.split_p:.3g}; {report.persons_in_several_variants} persons saw "
        f"several variants and are left out; {report.answers_without_person} lists were for nobody "
        "in particular.",
        highlight=False,
    )
    named = ", ".join(outcome.written_to)
    where = f"MLflow version {named} and " if named else ""
    out.print(f"Written to {where}{outcome.folder}", highlight=False)


def _shares(options: Sequence[str]) -> Mapping[str, float]:
    """champion=90 → champion: 90; the champion is the control and comes first."""
    shares: dict[str, float] = {}
    for option in options:
        name, _, share = option.partition("=")
        try:
            value = float(share)
        except ValueError as error:
            raise InvalidInput(
                "--variant", option, "write NAME=SHARE, such as champion=90"
            ) from error
        if name in shares:
            raise InvalidInput("--variant", option, "name each variant once")
        shares[name] = value
    return dict(sorted(shares.items(), key=lambda pair: pair[0] != CHAMPION))


@contextmanager
def _held(root: Path) -> Iterator[Workspace]:
    """The workspace held against the nightly run, which moves the same pointer."""
    shop = Workspace(root)
    if not shop.published.is_dir():
        raise InvalidInput("--workspace", str(root), "nothing is served there; run recsys nightly")
    with FileLock(shop.nightly_lock).hold():
        yield shop


def _tracking(shop: Workspace) -> Tracking | None:
    """MLflow's registry of the workspace; None before its first night."""
    return Tracking.of(shop) if shop.mlflow_database.is_file() else None


@contextmanager
def _store(shop: Workspace) -> Iterator[Any]:
    if not shop.store.is_file():
        raise InvalidInput("--workspace", str(shop.root), "there is no event store in it")
    store = SQLiteStore(shop.store)
    try:
        yield store
    finally:
        store.close()
