"""What every command does with the terminal: output, log lines, errors, exit codes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, TextIO

import typer
from rich.console import Console
from rich.markup import escape

from recsys.errors import RecsysError

FAILED: Final = 1
BAD_USAGE: Final = 2
LOCKED: Final = 3
BAD_DATA: Final = 4
"""Exit codes; `training.cli.app` says when."""

LOG_WIDTH: Final = 140
"""Of a table in a log file, which has no width of its own."""


def hand_over(
    context: typer.Context, name: str, command: Callable[..., None], *, epilog: str | None = None
) -> None:
    """Runs a command that lives in another file, with its options and help."""
    program = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
    )
    program.command(epilog=epilog)(command)
    program(args=context.args, prog_name=f"recsys {name}")


def become(module: str, arguments: Sequence[str], environment: Mapping[str, str] = {}) -> NoReturn:
    """Replaces this process by `python -m module`, which gets its signals and its terminal."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(  # noqa: S606
        sys.executable,
        [sys.executable, "-m", module, *arguments],
        {**os.environ, **environment},
    )


def log_steps(stream: TextIO) -> None:
    """Writes the log records of training to a stream that is no terminal, one line each.

    On a terminal the progress bar shows the same, and nothing is logged.
    """
    if not stream.isatty():
        # Imported here: only long runs need it.
        from training.progress import LogLine

        handler = logging.StreamHandler(stream)
        handler.setFormatter(LogLine())
        logger = logging.getLogger("training")
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)


def log_console() -> Console:
    """The console of a long run: a log file has no width, so tables get room there."""
    return Console(width=None if sys.stdout.isatty() else LOG_WIDTH)


def console() -> Console:
    """The console of an answer: lines are never broken, so that they can be searched."""
    return Console(soft_wrap=True)


def report_error(error: RecsysError) -> None:
    """The error's message, on the error channel."""
    Console(stderr=True, soft_wrap=True).print(
        f"[bold red]Error:[/] {escape(str(error))}", highlight=False
    )
