"""The steps of a long run: told as they go, with seconds and peak memory for each."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from recsys.atomic_files import write_atomically


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step cost: wall-clock seconds and the peak of resident memory in MB."""

    name: str
    seconds: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Bar:
    """The progress bar of one step."""

    name: str
    shown: Progress
    task: TaskID

    def tell(self, text: str) -> None:
        """What the step is doing now."""
        self.shown.update(self.task, description=f"{self.name}: {text}")

    def say(self, text: str) -> None:
        """Lines that stay."""
        for line in text.splitlines():
            self.shown.console.print(f"  {line}", highlight=False, soft_wrap=True)

    def progress(self, done: int, total: int) -> None:
        """How far it is."""
        self.shown.update(self.task, completed=done, total=total)


@dataclass(slots=True)
class Steps:
    """Runs named steps one after the other and remembers what each cost.

    `status` is a file that names the step that is under way, for whoever asks from outside.
    """

    console: Console
    status: Path | None = None
    costs: list[StepCost] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Bar]:
        """One step with a progress bar; a line with its cost stays when it is done."""
        if not self.console.is_terminal:
            self.console.print(f"▸ {name}")
        if self.status is not None:
            status = {"step": name, "pid": os.getpid()}
            write_atomically(self.status, json.dumps(status).encode())
        _reset_peak()
        started = time.perf_counter()
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        ) as progress:
            yield Bar(name, progress, progress.add_task(name, total=None))
        cost = StepCost(name, time.perf_counter() - started, _peak_mb())
        self.costs.append(cost)
        self.console.print(f"[green]✓[/] {name:<9} {cost.seconds:7.1f} s {cost.peak_mb:8.0f} MB")

    def say(self, text: str) -> None:
        """A line of its own."""
        self.console.print(f"  {text}", highlight=False, soft_wrap=True)


def _reset_peak() -> None:
    """Linux lets a process reset its own peak; elsewhere the peak is that of the whole run."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_mb() -> float:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 1024.0
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
