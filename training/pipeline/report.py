"""What a trial came to, for people and machines: a table, the summary file, and MLflow."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from recsys.atomic_files import write_atomically
from recsys.evaluation.intervals import Estimate, paired_differences
from recsys.events.checks import Check
from training.fitting.source import TrainingSource
from training.fitting.trial import TimeSplits, Trial
from training.pipeline import plots
from training.pipeline.gate import Decision
from training.progress import StepCost
from training.tables import figure, figure_with_interval, terminal_table
from training.tracking import Run

SHOWN = (
    "recall_at_20",
    "ndcg_at_20",
    "hit_rate_at_20",
    "new_items/recall_at_20",
    "new_items/ndcg_at_20",
    "new_items/hit_rate_at_20",
    "rebuys/recall_at_20",
    "heavy_customers/ndcg_at_20",
    "light_customers/ndcg_at_20",
    "new_customers/ndcg_at_20",
    "cold_items/recall_at_20",
)
COMPARED = (
    "recall_at_20",
    "ndcg_at_20",
    "new_items/recall_at_20",
    "new_items/ndcg_at_20",
)
"""What a model alone is compared by."""


def print_metrics(trial: Trial, *, console: Console) -> None:
    """The measures with their intervals, the baselines beside them."""
    report = trial.report
    rows = [
        [
            name,
            figure(estimate.value),
            f"{estimate.low:.4f}–{estimate.high:.4f}",
            *(figure(measured[name].value) for measured in report.baseline_estimates.values()),
            str(estimate.customers),
        ]
        for name in SHOWN
        if (estimate := report.estimates.get(name)) is not None and estimate.customers
    ]
    table = terminal_table(
        ["measure", "value", "95% interval", *report.baseline_estimates, "customers"],
        rows,
        title=f"Held out {report.cut:%Y-%m-%d} to {report.until:%Y-%m-%d}",
    )
    console.print(table)
    for placement in trial.placements:
        if placement.name in trial.recipe.blend_search.placements:
            weights = ", ".join(f"{name} {w:.3f}" for name, w in placement.blend.items() if w > 0)
            console.print(f"  {placement.name}: {weights}", highlight=False, soft_wrap=True)
    for decision in trial.ranker_decisions:
        console.print(f"  {decision.reason}", highlight=False, soft_wrap=True)
    if trial.singles:
        console.print(_above_singles(trial))


def _above_singles(trial: Trial) -> Table:
    """What the recipe has over each of its models alone, with the paired interval."""
    compared = _compared(trial)
    rows = [
        [model, *(figure_with_interval(above[name], "+.3f") for name in compared)]
        for model, above in trial.above_singles().items()
    ]
    return terminal_table(["model", *compared], rows, title="Above each model alone, 95% intervals")


def log_changes(run: Run, candidate: Trial, champion_trial: Trial | None) -> None:
    """The candidate's measures minus the champion's on the same customers, into the run.

    Nothing where there is no champion or its recipe is the same.
    """
    if champion_trial is None or champion_trial is candidate:
        return
    changes = paired_differences(
        candidate.report.per_person,
        champion_trial.report.per_person,
        rng=np.random.default_rng(candidate.recipe.seed),
    )
    run.log_dict(_estimates(changes), "what_changed.json")
    run.log_figure(
        plots.differences(_shown(changes), title="candidate minus champion"),
        "plots/what_changed.png",
    )


def log_trial(
    run: Run,
    trial: Trial,
    *,
    source: TrainingSource,
    time_splits: TimeSplits,
    checks: Sequence[Check],
) -> None:
    """Recipe, measures with intervals, checks in their public form and plots into the run."""
    metrics = trial.report.metrics()
    flat: dict[str, float] = {}
    for name, measured in metrics.items():
        for part in ("value", "low", "high"):
            value = measured[part]
            if isinstance(value, float) and math.isfinite(value):
                flat[name if part == "value" else f"{name}_{part}"] = value
    flat |= {name: value for name, value in trial.report.overall.items() if math.isfinite(value)}
    run.log_dataset(source.fingerprint, profile=_data(source, time_splits))
    run.log_metrics(flat, dataset=source.fingerprint)
    run.log_dict(trial.recipe.model_dump(mode="json"), "recipe.json")
    run.log_dict(metrics, "report.json")
    run.log_dict({"checks": _public(checks)}, "checks.json")
    run.log_dict(
        {placement.name: placement.model_dump(mode="json") for placement in trial.placements},
        "placements.json",
    )
    run.log_dict(_data(source, time_splits), "data.json")
    run.log_figure(plots.curve_over_k(metrics), "plots/curve_over_k.png")
    run.log_figure(plots.slices(metrics), "plots/slices.png")
    run.log_figure(plots.coverage(trial.report.overall), "plots/coverage.png")
    if trial.ranker_decisions:
        run.log_dict({"rankers": _rankers(trial)}, "rankers.json")
    for decision in trial.ranker_decisions:
        name = decision.placement
        run.log_figure(plots.importance(decision.importance), f"plots/ranker_{name}.png")
        run.log_figure(
            plots.differences(_shown(decision.changes), title="ranker minus blend, on validation"),
            f"plots/ranker_{name}_what_changed.png",
        )
    if trial.singles:
        above = trial.above_singles()
        run.log_dict(
            {model: _estimates(differences) for model, differences in above.items()},
            "above_singles.json",
        )
        for measure in _compared(trial):
            run.log_figure(
                plots.differences(
                    {model: differences[measure] for model, differences in above.items()},
                    title=f"{measure}: the recipe minus each model alone",
                ),
                f"plots/above_singles/{measure}.png",
            )


def summary_of(
    candidate: Trial,
    champion_trial: Trial | None,
    decision: Decision,
    costs: Sequence[StepCost],
    *,
    source: TrainingSource,
    time_splits: TimeSplits,
    checks: Sequence[Check],
) -> dict[str, Any]:
    """What was measured and on which data, as plain values; what `--summary` writes beside the
    night's decision."""
    return {
        "synthetic": source.synthetic,
        "steps": [asdict(cost) for cost in costs],
        "metrics": candidate.report.metrics(),
        "overall": dict(candidate.report.overall),
        "champion_metrics": None if champion_trial is None else champion_trial.report.metrics(),
        "gate": decision.as_json(),
        "checks": _public(checks),
        "data": _data(source, time_splits),
        "recipe_digest": candidate.recipe.digest(),
        "blends": {placement.name: placement.blend for placement in candidate.placements},
        "rankers": _rankers(candidate),
        "above_singles": {
            model: _estimates({measure: above[measure] for measure in _compared(candidate)})
            for model, above in candidate.above_singles().items()
        },
    }


def write_summary(summary: Mapping[str, Any], path: Path) -> None:
    """Replaces the file in one step; figures that do not exist are null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_without_nan(summary), indent=1, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def _compared(trial: Trial) -> list[str]:
    return [name for name in COMPARED if name in trial.report.estimates]


def _shown(changes: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return {name: changes[name] for name in SHOWN if name in changes}


def _estimates(changes: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "value": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "customers": estimate.customers,
        }
        for name, estimate in changes.items()
        if estimate.customers
    }


def _rankers(trial: Trial) -> list[dict[str, Any]]:
    return [
        {
            "placement": decision.placement,
            "serves": decision.wins,
            "reason": decision.reason,
            "gain": decision.gain.value,
            "low": decision.gain.low,
            "high": decision.gain.high,
            "customers": decision.gain.customers,
            "importance": dict(decision.importance),
            "changes": _estimates(_shown(decision.changes)),
        }
        for decision in trial.ranker_decisions
    ]


def _data(source: TrainingSource, time_splits: TimeSplits) -> dict[str, Any]:
    return {
        "fingerprint": source.fingerprint,
        "events": source.events,
        "items": len(source.items),
        "oldest": source.oldest.isoformat(),
        "newest": source.newest.isoformat(),
        "validations": [cut.isoformat() for cut in time_splits.validations],
        "test": time_splits.test.isoformat(),
        "end": time_splits.end.isoformat(),
    }


def _public(checks: Sequence[Check]) -> list[dict[str, str]]:
    """Checks without their examples, which may name customers."""
    return [
        {"name": check.name, "status": check.status.name, "message": check.message}
        for check in checks
    ]


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return value
