"""`ComparisonRow`: one method of a comparison, its means with intervals, and the lead of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.random import Generator

from recsys.dataset.training_data import TrainingData
from recsys.evaluation.intervals import Estimate, Values, estimates, paired_differences
from recsys.events.schema import PURCHASE
from recsys.ids import Numbers
from training.tables import figure_with_interval, markdown_table

AsOf = Callable[[datetime], TrainingData]
"""The training data as of a moment."""


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One method under one protocol: metric → mean, and metric → (ours − this), paired.

    `lead` is empty for our own row.
    """

    protocol: str
    method: str
    metrics: Mapping[str, Estimate]
    lead: Mapping[str, Estimate]

    def as_json(self) -> dict[str, Any]:
        """Plain values: each estimate as [value, low, high]; `above` is the lead."""
        return {
            "protocol": self.protocol,
            "method": self.method,
            "metrics": {name: [e.value, e.low, e.high] for name, e in self.metrics.items()},
            "above": {name: [e.value, e.low, e.high] for name, e in self.lead.items()},
        }


def rows_of(
    protocol: str, measured: Mapping[str, Mapping[str, Values]], *, ours: str, rng: Generator
) -> list[ComparisonRow]:
    """A row per method, in the order given; `measured` is method → metric → one value per case."""
    return [
        ComparisonRow(
            protocol,
            method,
            estimates(values, rng=rng),
            {} if method == ours else paired_differences(measured[ours], values, rng=rng),
        )
        for method, values in measured.items()
    ]


def as_text(rows: Sequence[ComparisonRow]) -> str:
    """The rows as a Markdown table per protocol: mean [interval], and the lead of ours."""
    parts: list[str] = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        of_protocol = [row for row in rows if row.protocol == protocol]
        names = list(of_protocol[0].metrics)
        cells = [
            [
                row.method,
                *(
                    cell
                    for name in names
                    for cell in (
                        figure_with_interval(row.metrics[name]),
                        figure_with_interval(row.lead.get(name), "+.4f"),
                    )
                ),
            ]
            for row in of_protocol
        ]
        headings = ["method", *(head for name in names for head in (name, "lead of ours"))]
        parts += [f"**{protocol}**", markdown_table(headings, cells)]
    return "\n\n".join(parts)


def bought_later(known: TrainingData, later: TrainingData) -> dict[str, Numbers]:
    """Person → the distinct items bought in `later` from `known.as_of` on, numbered as in `known`.

    Items that `known` lacks are left out, and persons who bought no other.
    """
    timeline = later.timeline
    bought = known.items.numbers(later.items.ids())[timeline.items]
    chosen = (
        (timeline.kinds == PURCHASE) & (timeline.times >= known.as_of.timestamp()) & (bought >= 0)
    )
    users, positions = np.unique(timeline.users[chosen], return_inverse=True)
    ends = np.cumsum(np.bincount(positions, minlength=len(users)))
    parts = np.split(bought[chosen][np.argsort(positions, kind="stable")], ends[:-1])
    return {
        person: np.unique(items)
        for person, items in zip(later.users.ids(users), parts, strict=True)
    }
