"""What a search found: the winning configuration, in words, in a YAML file and in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console

from recsys.atomic_files import write_atomically
from recsys.models.registry import families, family_of
from training.config import RankerConfig, TrainingConfig
from training.fitting.source import TrainingSource
from training.fitting.trial import TimeSplits, Trial
from training.pipeline.report import log_trial, print_metrics
from training.search import plots
from training.search.family_trials import Incumbent
from training.search.space import validated
from training.search.trials import TrialRecord
from training.tables import terminal_table
from training.tracking import Run

LEAST_SPREAD = 0.0005
"""Settings that moved the objective by less are not reported."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The end of a search.

    `worth` is what the value loses without each family; `begun` and `ended` are each validation
    period's recall@n + NDCG@n (all items, items new to the customer) at the start and with the
    winner; `trial` is the one measurement after the test cut.
    """

    config: TrainingConfig
    incumbent: Incumbent
    worth: Mapping[str, float]
    begun: tuple[tuple[float, float], ...]
    ended: tuple[tuple[float, float], ...]
    trials: tuple[TrialRecord, ...]
    importances: Mapping[str, float]
    trial: Trial
    seconds: float


def winning_config(config: TrainingConfig, incumbent: Incumbent, *, ranker: bool) -> TrainingConfig:
    """The configuration with the incumbent's weighting, settings and blend, and with a ranker if
    there is to be one.

    Models that no placement needs any more are left out; those that only other placements use keep
    their settings.
    """
    recipe = config.recipe
    blend = {
        name: round(weight, 4)
        for name, weight in sorted(incumbent.weights.items(), key=lambda pair: -pair[1])
        if round(weight, 4) > 0
    }
    chosen: dict[str, object] = {"blend": blend}
    if incumbent.repeats is not None:
        chosen["repeats"] = incumbent.repeats
    placements = tuple(
        placement.model_copy(update=chosen)
        if placement.name == config.evaluation.placement
        else placement
        for placement in recipe.placements
    )
    needed = {name for placement in placements for name in placement.models}
    needed |= {
        name for placement in placements for name in placement.fallback if name in recipe.models
    }
    models = {
        name: validated(name, incumbent.settings[name])
        if name in blend
        else dict(recipe.models.get(name, {}))
        for name in families()
        if name in needed
    }
    second_stage = (recipe.ranker or RankerConfig()) if ranker else None
    tuned = recipe.model_copy(
        update={
            "weighting": incumbent.weighting,
            "models": models,
            "placements": placements,
            "ranker": second_stage,
            "customer_rows": recipe.customer_rows
            or any(family_of(name).stores_user_data for name in models),
        }
    )
    return config.model_copy(update={"recipe": tuned})


def write_config(config: TrainingConfig, path: Path) -> None:
    """The configuration as YAML that `recsys nightly --config` takes; replaces the file whole."""
    content = config.model_dump(mode="json", exclude={"recipe", "gate"}, exclude_defaults=True)
    content["gate"] = config.gate.model_dump(mode="json", exclude_unset=True)
    recipe = config.recipe.model_dump(mode="json", exclude={"placements", "ranker"})
    recipe["placements"] = [
        placement.model_dump(mode="json", exclude_defaults=True)
        for placement in config.recipe.placements
    ]
    if config.recipe.ranker is not None:
        recipe["ranker"] = config.recipe.ranker.model_dump(mode="json")
    content["recipe"] = recipe
    text = yaml.safe_dump(
        {name: value for name, value in content.items() if value},
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    comment = (
        "# Found by `recsys search` on validation days alone; "
        f"`recsys nightly --config {path.name}` takes it as it is."
    )
    write_atomically(path, f"{comment}\n{text}".encode())


def explain(result: SearchResult, *, console: Console) -> None:
    """What was chosen and why, then what it measured after the test cut."""
    rows = [
        [
            name,
            f"{weight:.3f}",
            "cannot be judged" if result.worth.get(name) is None else f"{result.worth[name]:+.1%}",
            ", ".join(f"{key} {value}" for key, value in result.config.recipe.models[name].items()),
        ]
        for name, weight in _placement(result).items()
    ]
    settings = "settings that differ from the defaults"
    table = terminal_table(
        ["model", "weight", "lost without it", settings],
        rows,
        title="What was chosen, and what each model adds",
        text_columns=(0, 3),
    )
    console.print(table)
    for line in reasons(result):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    print_metrics(result.trial, console=console)


def reasons(result: SearchResult) -> list[str]:
    """The choice in words."""
    weighting = result.incumbent.weighting
    kinds = ", ".join(f"{kind} {weight:g}" for kind, weight in weighting.kind_weights.items())
    lines = [
        f"Events count for {weighting.half_life_days:g} days until they say half as much: {kinds}.",
    ]
    whole_from, whole_to, new_from, new_to = (
        sum(period[index] for period in periods) / len(periods)
        for index in (0, 1)
        for periods in (result.begun, result.ended)
    )
    lines.append(
        f"On {len(result.ended)} validation periods recall + NDCG rose from {whole_from:.4f} to "
        f"{whole_to:.4f} over all items and from {new_from:.4f} to {new_to:.4f} over items that "
        "are new to the customer."
    )
    useless = [
        name
        for name, weight in result.incumbent.weights.items()
        if weight == 0 and any(trial.turn == name for trial in result.trials)
    ]
    if useless:
        lines.append(f"Tried, but of no use beside the others: {', '.join(sorted(useless))}.")
    moved = [name for name, spread in result.importances.items() if spread > LEAST_SPREAD][:5]
    if moved:
        lines.append(f"What mattered most: {', '.join(moved)}.")
    lines += [decision.reason for decision in result.trial.ranker_decisions]
    complete = sum(trial.state == "complete" for trial in result.trials)
    pruned = sum(trial.state == "pruned" for trial in result.trials)
    lines.append(
        f"{len(result.trials)} trials ({complete} whole, {pruned} pruned) in "
        f"{result.seconds / 60:.1f} minutes."
    )
    return lines


def log_search(
    run: Run, result: SearchResult, *, source: TrainingSource, time_splits: TimeSplits
) -> None:
    """The winner, the reasons, the trials and the plots into the search's run."""
    log_trial(run, result.trial, source=source, time_splits=time_splits, checks=())
    run.log_metrics({"value": result.incumbent.value, "seconds": result.seconds})
    run.log_text("\n".join(reasons(result)) + "\n", "reasons.txt")
    run.log_dict(
        {
            "standing": result.incumbent.as_json(),
            "worth": dict(result.worth),
            "begun": result.begun,
            "ended": result.ended,
            "importances": dict(result.importances),
        },
        "search.json",
    )
    run.log_figure(plots.history(result.trials), "plots/search_history.png")
    run.log_figure(plots.bars(result.importances, title="What mattered"), "plots/importance.png")
    run.log_figure(plots.bars(result.worth, title="Lost without it"), "plots/worth.png")


def _placement(result: SearchResult) -> Mapping[str, float]:
    for placement in result.trial.placements:
        if placement.name == result.config.evaluation.placement:
            kept = {name: weight for name, weight in placement.blend.items() if weight > 0}
            return dict(sorted(kept.items(), key=lambda pair: -pair[1]))
    return {}
