"""`RunContext`: what every step of a training run needs beside its data.

One value is passed down instead of a provenance, a seed and callbacks: where progress is reported,
what the bundles of this run say of their origin, and the seed of its measurements.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.random import Generator


class Reporter(Protocol):
    """Receives what a run reports; `training.progress.StepProgress` shows or logs it."""

    def report_progress(self, text: str) -> None:
        """Begins a sub-step of that name; the one before has ended."""

    def log(self, text: str, *, level: int = logging.INFO) -> None:
        """A message that stays, with its level of `logging`."""

    def count(self, done: int, total: int) -> None:
        """How many parts of the step are done."""


@dataclass(frozen=True, slots=True)
class Silent:
    """A reporter that drops everything."""

    def report_progress(self, text: str) -> None:
        """Drops it."""

    def log(self, text: str, *, level: int = logging.INFO) -> None:
        """Drops it."""

    def count(self, done: int, total: int) -> None:
        """Drops it."""


SILENT: Final = Silent()


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a bundle comes from, for its manifest."""

    model_version: str
    code_revision: str
    data_fingerprint: str
    synthetic: bool = False


@dataclass(frozen=True, slots=True)
class RunContext:
    """Provenance, seed and reporter of one run.

    `seed` draws the sample of customers that are measured and the resamples of intervals: two
    trials with one seed measure the same customers. What a recipe fits follows the recipe's own
    seed. `prefix` stands before every sub-step's name.
    """

    provenance: Provenance
    seed: int = 0
    reporter: Reporter = SILENT
    prefix: str = ""

    def rng(self) -> Generator:
        """A new random generator of the run's seed: the same numbers at every call."""
        return np.random.default_rng(self.seed)

    def reporting_to(self, reporter: Reporter) -> RunContext:
        """The context of one step, which reports there."""
        return replace(self, reporter=reporter)

    def within(self, prefix: str) -> RunContext:
        """The context of a part, whose sub-steps are named `prefix: …`."""
        return replace(self, prefix=f"{self.prefix}{prefix}: ")

    def report_progress(self, text: str) -> None:
        """Begins a sub-step of that name."""
        self.reporter.report_progress(f"{self.prefix}{text}")

    def log(self, text: str, *, level: int = logging.INFO) -> None:
        """A message that stays."""
        self.reporter.log(text, level=level)

    def count(self, done: int, total: int) -> None:
        """How many parts of the step are done."""
        self.reporter.count(done, total)
