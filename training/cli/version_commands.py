"""`recsys versions`, `status`, `promote`, `rollback`: which version is the champion."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from training.cli.options import (
    DEFAULT_WORKSPACE,
    WorkspaceOption,
    locked,
    tracking_of,
    trained_workspace,
)
from training.cli.tables import remedy, versions_table
from training.cli.terminal import FAILED, console
from training.lock import FileLock


def versions(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """List the registered versions, newest first, with their measures."""
    from recsys.bundle.publication import served_version

    trained = trained_workspace(workspace)
    console().print(
        versions_table(tracking_of(trained).versions(), served=served_version(trained.published))
    )


def status(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Show the champion in MLflow, what the service follows, and whether the two agree.

    Ends with 1 where they do not, and prints the remedy.
    """
    from recsys.bundle.publication import CHAMPION, served_version

    trained = trained_workspace(workspace)
    tracking = tracking_of(trained)
    registered = tracking.versions()
    champion = next((version for version in registered if CHAMPION in version.aliases), None)
    served = served_version(trained.published)
    out = console()
    named = "none" if champion is None else f"version {champion.version} ({champion.model_version})"
    out.print(f"champion in MLflow   {named}", highlight=False)
    out.print(f"served               {served or 'nothing'}", highlight=False)
    earlier = ", ".join(reversed(tracking.previous_champions()))
    out.print(f"rollback goes to     {earlier or 'nothing'}", highlight=False)
    running = FileLock(trained.nightly_lock).is_held()
    out.print(f"nightly run          {'under way' if running else 'none'}", highlight=False)
    out.print(versions_table(registered[:10], served=served))
    mend = remedy(champion, served)
    if mend is not None and not running:
        out.print(f"[red]{escape(mend)}[/]", highlight=False)
        raise typer.Exit(FAILED)


def promote(
    version: Annotated[str, typer.Argument(help="A registered version; see recsys versions.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Make a version the champion, in MLflow and in the running service.

    The bundle is verified and asked before anything moves. Doing it again finishes what a killed
    process has begun.
    """
    from training.pipeline.publish import promote as promote_version

    with locked(workspace) as (held, tracking):
        publication = promote_version(tracking, version, root=held.published, keep=None)
    console().print(
        f"[green]Champion is version {version}[/] ({publication.champion.model_version}).",
        highlight=False,
    )


def rollback(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Make the champion before the present one champion again; can be repeated.

    MLflow and the running service go back together.
    """
    from training.pipeline.publish import roll_back

    with locked(workspace) as (held, tracking):
        publication = roll_back(tracking, root=held.published, keep=None)
        restored = tracking.champion()
    number = "?" if restored is None else restored.version
    console().print(
        f"[green]Champion is version {number} again[/] ({publication.champion.model_version}).",
        highlight=False,
    )
