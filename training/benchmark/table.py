"""What a benchmark came to: a table for people, JSON for machines, Markdown for a README."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE
from rich.table import Table

from training.benchmark.tuning.search import Outcome

CHOSEN: Final = "chosen by validation"


@dataclass(frozen=True, slots=True)
class Result:
    """One set's outcome with all that is told about it; `shown` are the measures of the table."""

    name: str
    task: str
    about: str
    shown: tuple[str, ...]
    outcome: Outcome
    published: Mapping[str, Mapping[str, float]]

    def as_json(self) -> dict[str, Any]:
        """Plain values: `models` name → measures, `seconds`, `memory` (MB at the peak), and `lead`:
        what validation chose minus the model, with its paired 95% interval."""
        outcome = self.outcome
        return {
            "set": self.name,
            "task": self.task,
            "about": self.about,
            "models": {
                name: {
                    **row.metrics,
                    "seconds": round(row.seconds, 3),
                    "memory": round(row.memory, 1),
                    "settings": dict(row.settings),
                    "validation": row.validation,
                    "lead": {
                        name: [lead.value, lead.low, lead.high]
                        for name, lead in row.lead.items()
                        if name in self.shown
                    },
                }
                for name, row in outcome.models.items()
            },
            "chosen": dict(outcome.chosen),
            "blend": dict(outcome.blend),
            "ranked": outcome.ranked,
            "published": {name: dict(values) for name, values in self.published.items()},
            "seconds": round(outcome.seconds, 3),
            "memory": round(outcome.memory, 1),
            "questions": outcome.questions,
            "validation_questions": outcome.validation_questions,
            "machine": machine(),
        }


def table_of(result: Result) -> Table:
    """Published methods, our families, and what validation chose."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title=f"{result.name}: {result.about}")
    table.add_column("model", overflow="fold")
    for name in result.shown:
        table.add_column(_heading(name), justify="right", no_wrap=True)
    table.add_column("seconds", justify="right")
    table.add_column("MB", justify="right")
    for cells in _rows(result):
        style = "bold" if cells[0] == CHOSEN else "dim" if cells[0].endswith("published") else None
        table.add_row(*cells, style=style)
    return table


def markdown_of(results: Sequence[Result]) -> str:
    """The tables of all sets, with the machine that they were measured on."""
    parts = [f"Measured on {machine()}."]
    for result in results:
        headings = ["model", *map(_heading, result.shown), "seconds", "MB"]
        parts.append(
            "\n".join(
                [
                    f"**{result.name}** ({result.task}): {result.about}",
                    "",
                    _line(headings),
                    _line(["---", *["---:"] * (len(headings) - 1)]),
                    *map(_line, _rows(result)),
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def machine() -> str:
    """The processor, its count of cores and the memory, in words."""
    cores = os.cpu_count() or 1
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        names = [
            line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line
        ]
    except OSError:
        names = []
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = names[0] if names else platform.machine()
    return f"{name}, {cores} cores, {gigabytes:.0f} GB"


def _rows(result: Result) -> list[list[str]]:
    outcome = result.outcome
    rows = [
        [f"{name}, published", *_cells(values, result.shown), "", ""]
        for name, values in result.published.items()
    ]
    ours = sorted(outcome.models.items(), key=lambda item: item[1].metrics[result.shown[0]])
    rows += [
        [name, *_cells(row.metrics, result.shown), *_cost(row.seconds, row.memory)]
        for name, row in ours
    ]
    rows.append(
        [
            CHOSEN,
            *_cells(outcome.chosen, result.shown),
            *_cost(outcome.seconds, outcome.memory),
        ]
    )
    return rows


def _cells(values: Mapping[str, float], shown: Sequence[str]) -> list[str]:
    return [
        f"{values[name]:.4f}" if name in values and math.isfinite(values[name]) else ""
        for name in shown
    ]


def _cost(seconds: float, memory: float) -> tuple[str, str]:
    """Blank for what was not run by itself."""
    return (f"{seconds:.1f}", f"{memory:.0f}") if seconds else ("", "")


def _heading(name: str) -> str:
    short = name.replace("new_items/", "new ").replace("hit_rate", "HR").replace("recall", "R")
    return short.replace("ndcg_over_all", "N*").replace("ndcg", "N").replace("_at_", "@")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
