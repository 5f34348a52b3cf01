"""The steps of a long run: a bar on a terminal, log lines elsewhere, with seconds and peak memory.

On a terminal a step has a progress bar, and a line with its cost stays. Where the output is no
terminal (cron, a container) nothing is drawn: every step and sub-step is one record of `logging`,
with the attributes `step` and `seconds`, for whatever handler the program has set up;
`LogLine` writes such a record as a line of `key=value` pairs.
"""

from __future__ import annotations

import json
import logging
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
class _Output:
    """Shows messages on a terminal; makes log records of them where there is none."""

    console: Console
    logger: logging.Logger

    def message(self, text: str, *, step: str | None, level: int) -> None:
        """A message that stays."""
        if self.console.is_terminal:
            self.console.print(f"  {text}", highlight=False, soft_wrap=True)
        else:
            self.record(text, step=step, level=level)

    def record(
        self,
        text: str,
        *,
        step: str | None,
        level: int = logging.INFO,
        seconds: float | None = None,
        peak_mb: float | None = None,
    ) -> None:
        """A log record, unless a terminal shows the same already."""
        if not self.console.is_terminal:
            rounded = None if seconds is None else round(seconds, 3)
            peak = None if peak_mb is None else round(peak_mb)
            self.logger.log(level, text, extra={"step": step, "seconds": rounded, "peak_mb": peak})


@dataclass(slots=True)
class StepProgress:
    """Where one step reports (the `Reporter` of a run's context)."""

    name: str
    _output: _Output
    _display: Progress
    _task: TaskID
    _sub_step: str | None = None
    _since: float = 0.0

    def report_progress(self, text: str) -> None:
        """Begins a sub-step; the one before is logged with its seconds."""
        self.end_sub_step()
        self._sub_step, self._since = text, time.perf_counter()
        self._display.update(self._task, description=f"{self.name}: {text}")

    def end_sub_step(self) -> None:
        """Logs the sub-step that is under way, if any, with its seconds."""
        if self._sub_step is not None:
            seconds = time.perf_counter() - self._since
            self._output.record(self._sub_step, step=self.name, seconds=seconds)
        self._sub_step = None

    def log(self, text: str, *, level: int = logging.INFO) -> None:
        """A message that stays: lines under the bar, or one log record per line."""
        for line in text.splitlines():
            self._output.message(line, step=self.name, level=level)

    def count(self, done: int, total: int) -> None:
        """How many parts of the step are done."""
        self._display.update(self._task, completed=done, total=total)


@dataclass(slots=True)
class Steps:
    """Runs named steps one after the other and remembers what each cost.

    `run` names the logger: `training.<run>`. `status` is a file that names the step that is under
    way, for whoever asks from outside.
    """

    console: Console
    run: str = "run"
    status: Path | None = None
    costs: list[StepCost] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[StepProgress]:
        """One step; its cost is shown or logged when it is done, as an error where it raises."""
        self._write_status(name)
        _reset_peak()
        started = time.perf_counter()
        output = self._output()
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        ) as display:
            progress = StepProgress(name, output, display, display.add_task(name, total=None))
            try:
                yield progress
            except BaseException as error:
                output.record(
                    f"failed: {type(error).__name__}: {error}",
                    step=name,
                    level=logging.ERROR,
                    seconds=time.perf_counter() - started,
                )
                raise
            progress.end_sub_step()
        cost = StepCost(name, time.perf_counter() - started, _peak_mb())
        self.costs.append(cost)
        if self.console.is_terminal:
            line = f"[green]✓[/] {name:<9} {cost.seconds:7.1f} s {cost.peak_mb:8.0f} MB"
            self.console.print(line)
        output.record("done", step=name, seconds=cost.seconds, peak_mb=cost.peak_mb)

    def log(self, text: str, *, level: int = logging.INFO) -> None:
        """A message outside the steps."""
        self._output().message(text, step=None, level=level)

    def _output(self) -> _Output:
        return _Output(self.console, logging.getLogger(f"training.{self.run}"))

    def _write_status(self, step: str) -> None:
        if self.status is not None:
            status = {"step": step, "pid": os.getpid()}
            write_atomically(self.status, json.dumps(status).encode())


class LogLine(logging.Formatter):
    """A record as one line that machines and people can read.

    `2026-11-28T03:15:04Z INFO training.nightly step=build seconds=3.214 message="fit: als"`: time
    in UTC, level, logger, then `key=value` pairs; the message is a JSON string and comes last.
    """

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        values = {name: getattr(record, name, None) for name in ("step", "seconds", "peak_mb")}
        pairs = [f"{name}={value}" for name, value in values.items() if value is not None]
        pairs.append(f"message={json.dumps(text, ensure_ascii=False)}")
        moment = self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ")
        return " ".join([moment, record.levelname, record.name, *pairs])


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
