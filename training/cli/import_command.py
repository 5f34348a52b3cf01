"""`recsys import`: the command line around `import_files`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from recsys.errors import RecsysError
from recsys.store.sqlite import SQLiteStore
from training.datasets import (
    ConsentStatement,
    DataFile,
    ImportOptions,
    ImportSummary,
    Watch,
    import_files,
)
from training.datasets.formats.retail_lines import Protocol
from training.datasets.sources import Format
from training.workspace import Workspace


def import_(
    data: Annotated[
        list[Path] | None,
        typer.Option(help="A file whose format is told by --format or recognised. Repeatable."),
    ] = None,
    events: Annotated[
        list[Path] | None,
        typer.Option(help="Canonical events: JSONL, CSV (both also .gz) or Parquet."),
    ] = None,
    items: Annotated[
        list[Path] | None,
        typer.Option(
            "--items",
            "--catalog",
            help="Items of the catalogue: canonical, or a Merchant Center feed (XML, TSV).",
        ),
    ] = None,
    profiles: Annotated[
        list[Path] | None, typer.Option(help="Canonical profiles: customer, country, group.")
    ] = None,
    format: Annotated[Format, typer.Option(help="What the --data files are.")] = "auto",
    protocol: Annotated[
        Protocol,
        typer.Option(help="Online Retail: as a shop wants it, or as published figures took it."),
    ] = "shop",
    mapping: Annotated[
        Path | None,
        typer.Option(help="YAML: columns of --data files of any shape; with ga4, its options."),
    ] = None,
    consent: Annotated[
        ConsentStatement | None,
        typer.Option(
            help="Where the files do not say: everybody agreed (assumed), or nobody was asked "
            "(absent: imported as nobody's). It is written to imports.jsonl."
        ),
    ] = None,
    max_rejected: Annotated[
        float, typer.Option(min=0, max=1, help="Largest share of rejected rows that is a success.")
    ] = 0.01,
    workspace: Annotated[Path, typer.Option(help="Directory of store and event log.")] = Path(
        ".recsys"
    ),
) -> None:
    """Bring a shop's history in: events, catalogue and profiles. Repeating it adds nothing.

    Examples:

    recsys import --events events.jsonl.gz --items items.csv --profiles profiles.parquet

    recsys import --data online_retail.parquet --consent assumed

    recsys import --data export.csv --mapping configs/import-example.yaml

    recsys import --data events.json.gz --format ga4 --mapping configs/import-ga4.yaml

    recsys import --catalog feed.xml --format merchant

    Exit code 0 if anything was taken and few enough rows were rejected, else 1.
    """
    files = [
        *(DataFile(path, "items") for path in items or ()),
        *(DataFile(path, "profiles") for path in profiles or ()),
        *(DataFile(path, "events") for path in events or ()),
        *(DataFile(path) for path in data or ()),
    ]
    if not files:
        raise typer.BadParameter("give at least one of --data, --events, --items, --profiles")
    options = ImportOptions(
        format=format,
        protocol=protocol,
        mapping=mapping,
        consent=consent,
        max_rejected=max_rejected,
    )
    try:
        summary = _import_into(Workspace(workspace), files, options)
    except RecsysError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(str(summary))
    if not summary.succeeded(max_rejected=max_rejected):
        share = f"{summary.rejected_share:.1%} of the rows were rejected"
        typer.echo(f"error: {share}; at most {max_rejected:.1%} may be, and one must do", err=True)
        raise typer.Exit(1)


def _import_into(
    workspace: Workspace, files: Sequence[DataFile], options: ImportOptions
) -> ImportSummary:
    workspace.create()
    store = SQLiteStore(workspace.store)
    try:
        with progress_bar() as watch:
            return import_files(
                files,
                options,
                workspace=workspace,
                store=store,
                at=datetime.now(UTC),
                watch=watch,
            )
    finally:
        store.close()


@contextmanager
def progress_bar() -> Iterator[Watch]:
    """A bar per file on the terminal's standard error, gone when the import ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def watch(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done, total=total)

        yield watch
