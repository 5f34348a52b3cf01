"""`Row`: one method of a comparison, its means with intervals, and how far ours is above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from recsys.evaluation.intervals import Estimate, Values, estimates, paired_differences
from recsys.evaluation.metrics import hit_rate_at_k, reciprocal_rank_at_k
from recsys.ids import Numbers


@dataclass(frozen=True, slots=True)
class Row:
    """One method under one protocol: metric → mean, and metric → (ours − this), paired.

    `above` is empty for our own row.
    """

    protocol: str
    method: str
    metrics: Mapping[str, Estimate]
    above: Mapping[str, Estimate]


def rows_of(
    protocol: str, measured: Mapping[str, Mapping[str, Values]], *, ours: str, rng: Generator
) -> list[Row]:
    """A row per method, in the order given; `measured` is method → metric → one value per case."""
    return [
        Row(
            protocol,
            method,
            estimates(values, rng=rng),
            {} if method == ours else paired_differences(measured[ours], values, rng=rng),
        )
        for method, values in measured.items()
    ]


def hits_and_ranks(
    lists: Sequence[Numbers], truth: Sequence[Numbers], *, k: int = 10, mrr_at: int = 20
) -> dict[str, Values]:
    """`hit_rate_at_k` and `mrr_at_…`, one value per case."""
    return {
        f"hit_rate_at_{k}": np.asarray(hit_rate_at_k(lists, truth, k)),
        f"mrr_at_{mrr_at}": np.asarray(reciprocal_rank_at_k(lists, truth, mrr_at)),
    }


def as_text(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table per protocol: mean [interval], and ours above it."""
    lines: list[str] = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        of_protocol = [row for row in rows if row.protocol == protocol]
        names = list(of_protocol[0].metrics)
        heads = [head for name in names for head in (name, "ours above it")]
        lines += ["", f"**{protocol}**", "", "| method | " + " | ".join(heads) + " |"]
        lines.append("|---" * (1 + len(heads)) + "|")
        for row in of_protocol:
            cells = [
                cell
                for name in names
                for cell in (_told(row.metrics[name]), _told(row.above.get(name), sign=True))
            ]
            lines.append(f"| {row.method} | " + " | ".join(cells) + " |")
    return "\n".join(lines).strip()


def _told(estimate: Estimate | None, *, sign: bool = False) -> str:
    if estimate is None:
        return ""
    form = "+.4f" if sign else ".4f"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"
