"""Results of a benchmark: tables for the terminal and for Markdown, plain values for JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.random import Generator
from rich.table import Table

from recsys.evaluation.intervals import Estimate, paired_differences
from recsys.evaluation.metrics import PerQuery
from training.benchmark.metrics import means
from training.tables import figure, markdown_table, terminal_table

CHOSEN: Final = "chosen by validation"
RESAMPLES: Final = 200


@dataclass(frozen=True, slots=True)
class CandidateResult:
    """One model alone: its test metrics per query, the settings that validation chose, its cost.

    `seconds` and `memory` (MB at the peak) are 0 where the model was not run by itself;
    `validation` is its objective there, NaN where it was not measured. `lead` is the test result of
    the chosen blend minus this model, paired by query.
    """

    per_query: Mapping[str, PerQuery]
    settings: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    memory: float = 0.0
    validation: float = float("nan")
    lead: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """The means over the queries."""
        return means(self.per_query)

    def with_lead(self, chosen: Mapping[str, PerQuery], *, rng: Generator) -> CandidateResult:
        """The result with the paired differences from what was chosen."""
        lead = paired_differences(chosen, self.per_query, rng=rng, resamples=RESAMPLES)
        return replace(self, lead=lead)


@dataclass(frozen=True, slots=True)
class TuningResult:
    """All candidates of a task and what validation chose of them.

    `blend` is model → weight, `chosen` its test metrics, `ranked` whether a ranker orders it.
    `n_test` and `n_validation` count queries.
    """

    models: Mapping[str, CandidateResult]
    blend: Mapping[str, float]
    chosen: Mapping[str, float]
    ranked: bool
    seconds: float
    memory: float
    n_test: int
    n_validation: int

    @classmethod
    def of(
        cls,
        models: Mapping[str, CandidateResult],
        blend: Mapping[str, float],
        per_query: Mapping[str, PerQuery],
        *,
        seed: int,
        further: Mapping[str, float] = {},
        **rest: Any,
    ) -> TuningResult:
        """The result with every candidate's lead; `per_query` are the test metrics of the blend,
        `further` its figures that have no value per query."""
        with_leads = {
            name: model.with_lead(per_query, rng=np.random.default_rng(seed))
            for name, model in models.items()
        }
        return cls(models=with_leads, blend=blend, chosen={**means(per_query), **further}, **rest)


@dataclass(frozen=True, slots=True)
class SetResult:
    """One set's result with its description; `shown` are the metrics in the table."""

    name: str
    task: str
    about: str
    shown: tuple[str, ...]
    tuning: TuningResult
    published: Mapping[str, Mapping[str, float]]

    def as_json(self) -> dict[str, Any]:
        """Plain values; the `lead` of a model is its value and 95% interval per shown metric."""
        tuning = self.tuning
        return {
            "set": self.name,
            "task": self.task,
            "about": self.about,
            "models": {name: self._as_json(model) for name, model in tuning.models.items()},
            "chosen": dict(tuning.chosen),
            "blend": dict(tuning.blend),
            "ranked": tuning.ranked,
            "published": {name: dict(values) for name, values in self.published.items()},
            "seconds": round(tuning.seconds, 3),
            "memory": round(tuning.memory, 1),
            "questions": tuning.n_test,
            "validation_questions": tuning.n_validation,
            "machine": machine(),
        }

    def _as_json(self, model: CandidateResult) -> dict[str, Any]:
        return {
            **model.metrics,
            "seconds": round(model.seconds, 3),
            "memory": round(model.memory, 1),
            "settings": dict(model.settings),
            "validation": model.validation,
            "lead": {
                name: [lead.value, lead.low, lead.high]
                for name, lead in model.lead.items()
                if name in self.shown
            },
        }

    def headings(self) -> list[str]:
        """The columns of the table."""
        return ["model", *map(_heading, self.shown), "seconds", "MB"]

    def rows(self) -> list[list[str]]:
        """Published methods, our models from the worst to the best, and what validation chose."""
        tuning = self.tuning
        ours = sorted(tuning.models.items(), key=lambda item: item[1].metrics[self.shown[0]])
        return [
            *(self._cells(f"{name}, published", values) for name, values in self.published.items()),
            *(self._cells(name, m.metrics, m.seconds, m.memory) for name, m in ours),
            self._cells(CHOSEN, tuning.chosen, tuning.seconds, tuning.memory),
        ]

    def _cells(
        self, name: str, metrics: Mapping[str, float], seconds: float = 0.0, memory: float = 0.0
    ) -> list[str]:
        cost = [f"{seconds:.1f}", f"{memory:.0f}"] if seconds else ["", ""]
        return [name, *(figure(metrics.get(metric)) for metric in self.shown), *cost]


def table_of(result: SetResult) -> Table:
    """The table for the terminal."""
    rows = result.rows()
    styles = ["dim"] * len(result.published) + [None] * len(result.tuning.models) + ["bold"]
    title = f"{result.name}: {result.about}"
    return terminal_table(result.headings(), rows, title=title, styles=styles)


def markdown_of(results: Sequence[SetResult]) -> str:
    """The tables of all sets, with the machine that they were measured on."""
    parts = [f"Measured on {machine()}."]
    for result in results:
        parts.append(f"**{result.name}** ({result.task}): {result.about}")
        parts.append(markdown_table(result.headings(), result.rows()))
    return "\n\n".join(parts) + "\n"


def machine() -> str:
    """The processor, its count of cores and the memory, in words."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = names[0] if names else platform.machine()
    return f"{name}, {os.cpu_count() or 1} cores, {gigabytes:.0f} GB"


def _heading(name: str) -> str:
    short = name.replace("new_items/", "new ").replace("hit_rate", "HR").replace("recall", "R")
    return short.replace("ndcg_over_all", "N*").replace("ndcg", "N").replace("_at_", "@")
