"""Figures of a report for MLflow: measures over the list's length, slices, coverage.

All take what `Report.metrics` gives: name → {value, low, high, baselines}. The figures belong to
the caller; pyplot's global state is not touched and no display is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from recsys.evaluation.intervals import Estimate

Measured = Mapping[str, Mapping[str, Any]]
"""Name → {value, low, high, baselines: {baseline: value}}; `low`, `high`, `baselines` optional."""

_AT_K: Final = re.compile(r"^(?P<measure>\w+)_at_(?P<k>\d+)$")
_OURS: Final = "#0b6e4f"
_THEIRS: Final = ("#8a8a8a", "#b5651d", "#4f6d9e", "#a04668")


def curve_over_k(
    metrics: Measured, *, measures: Sequence[str] = ("recall", "ndcg", "hit_rate")
) -> Figure:
    """One panel per measure: its value over the length of the list, the interval as a band, the
    baselines as dashed lines. Measures that were not taken are left out."""
    tables = {measure: _over_k(metrics, measure) for measure in measures}
    drawn = {measure: table for measure, table in tables.items() if table}
    figure, panels = _panels(max(len(drawn), 1), height=3.6)
    for panel, (measure, table) in zip(panels, drawn.items(), strict=False):
        ks = np.array([k for k, _ in table])
        measured = [row for _, row in table]
        values = _column(measured, "value")
        panel.plot(ks, values, color=_OURS, marker="o", label="candidate")
        panel.fill_between(
            ks,
            _column(measured, "low"),
            _column(measured, "high"),
            color=_OURS,
            alpha=0.2,
            linewidth=0,
        )
        for color, baseline in zip(_THEIRS * 4, _baselines(measured), strict=False):
            theirs = [row.get("baselines", {}).get(baseline, np.nan) for row in measured]
            panel.plot(ks, theirs, color=color, linestyle="--", marker=".", label=baseline)
        panel.set_title(f"{measure} over k")
        panel.set_xlabel("k, length of the list")
        panel.set_xticks(ks)
        panel.set_ylim(bottom=0)
        panel.legend(fontsize="small")
    return figure


def slices(metrics: Measured, *, measure: str = "ndcg_at_20") -> Figure:
    """One bar per slice of a measure (`new_items/ndcg_at_20`, …), with interval and baselines."""
    rows = {
        name.rpartition("/")[0] or "all": measured
        for name, measured in metrics.items()
        if name.rpartition("/")[2] == measure
    }
    figure, (panel,) = _panels(1, height=0.9 + 0.5 * max(len(rows), 2))
    places = np.arange(len(rows))
    measured = list(rows.values())
    values = _column(measured, "value")
    below = np.nan_to_num(np.maximum(values - _column(measured, "low"), 0.0))
    above = np.nan_to_num(np.maximum(_column(measured, "high") - values, 0.0))
    panel.barh(places, values, color=_OURS, height=0.55, label="candidate")
    panel.errorbar(
        values, places, xerr=np.stack([below, above]), fmt="none", ecolor="black", capsize=3
    )
    for color, baseline in zip(_THEIRS * 4, _baselines(measured), strict=False):
        theirs = [row.get("baselines", {}).get(baseline, np.nan) for row in measured]
        panel.plot(theirs, places, color=color, marker="D", linestyle="none", label=baseline)
    panel.set_yticks(places, list(rows))
    panel.invert_yaxis()
    panel.set_xlim(left=0)
    panel.set_title(f"{measure} by slice")
    panel.legend(fontsize="small")
    return figure


def coverage(overall: Mapping[str, float]) -> Figure:
    """A panel per figure of the lists as a whole (`Report.overall`): coverage, novelty, …

    A share (coverage) is drawn on 0 to 1.
    """
    drawn = {name: value for name, value in overall.items() if np.isfinite(value)}
    figure, panels = _panels(max(len(drawn), 1), height=1.6)
    for panel, (name, value) in zip(panels, drawn.items(), strict=False):
        panel.barh([0], [value], color=_OURS, height=0.5)
        panel.set_yticks([])
        panel.set_xlim(0, 1 if name.startswith("coverage") else max(value * 1.2, 1e-9))
        panel.set_title(f"{name}: {value:.3g}")
    return figure


def importance(shares: Mapping[str, float], *, most: int = 25) -> Figure:
    """The ranker's features by their share of the gain of all splits, largest first."""
    largest = dict(sorted(shares.items(), key=lambda share: -share[1])[:most])
    figure, (panel,) = _panels(1, height=0.9 + 0.25 * max(len(largest), 2))
    places = np.arange(len(largest))
    panel.barh(places, list(largest.values()), color=_OURS, height=0.6)
    panel.set_yticks(places, list(largest), fontsize="small")
    panel.invert_yaxis()
    panel.set_xlim(left=0)
    panel.set_title("importance in the ranker, share of gain")
    return figure


def differences(changes: Mapping[str, Estimate], *, title: str) -> Figure:
    """What changed: each measure's paired difference with its 95 % interval about the line of no
    difference; green above, brown below, grey where the interval holds 0."""
    drawn = {name: estimate for name, estimate in changes.items() if np.isfinite(estimate.value)}
    figure, (panel,) = _panels(1, height=0.9 + 0.3 * max(len(drawn), 2))
    for row, estimate in enumerate(drawn.values()):
        color = _OURS if estimate.low > 0 else _THEIRS[1] if estimate.high < 0 else _THEIRS[0]
        panel.plot([estimate.low, estimate.high], [row, row], color=color, linewidth=2)
        panel.plot([estimate.value], [row], color=color, marker="o")
    panel.axvline(0.0, color="black", linewidth=0.8)
    panel.set_yticks(np.arange(len(drawn)), list(drawn), fontsize="small")
    panel.invert_yaxis()
    panel.set_title(title)
    return figure


def variants_by_measure(report: Mapping[str, Any]) -> Figure:
    """An experiment's report: a panel per measure, each variant's value with its interval."""
    variants = report["variants"]
    names = list(variants[0]["measures"])
    figure, panels = _panels(len(names), height=1.2 + 0.5 * max(len(variants), 2))
    places = np.arange(len(variants))
    for panel, name in zip(panels, names, strict=True):
        measured = [
            {
                key: np.nan if value is None else value
                for key, value in variant["measures"][name].items()
            }
            for variant in variants
        ]
        values = _column(measured, "value")
        reach = np.stack([values - _column(measured, "low"), _column(measured, "high") - values])
        panel.errorbar(values, places, xerr=np.nan_to_num(reach), fmt="o", color=_OURS, capsize=4)
        panel.set_yticks(places, [variant["name"] for variant in variants])
        panel.set_ylim(len(variants) - 0.5, -0.5)
        panel.set_title(name.replace("_", " "))
    return figure


def _over_k(metrics: Measured, measure: str) -> list[tuple[int, Mapping[str, Any]]]:
    matched = [(_AT_K.match(name), measured) for name, measured in metrics.items()]
    at_k = [
        (int(m["k"]), measured)
        for m, measured in matched
        if m is not None and m["measure"] == measure
    ]
    return sorted(at_k, key=lambda row: row[0])


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([row.get(name, np.nan) for row in rows], np.float64)


def _baselines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.get("baselines", {})))


def _panels(n: int, *, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.8 * n if n > 1 else 7.0, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, n, squeeze=False)[0])
