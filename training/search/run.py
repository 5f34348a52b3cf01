"""The search as a whole: read → open → search → measure → report.

Everything is chosen on validation periods; the test period is used once, after the choice is made
and written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

from recsys.bundle.placements import Placement
from recsys.errors import InsufficientData, InvalidConfig
from recsys.events.log import EventLog
from recsys.models.registry import families, family_of
from recsys.store.sqlite import SQLiteStore
from training.code_revision import code_revision
from training.config import TrainingConfig
from training.fitting.blend_weights import totals
from training.fitting.source import TrainingSource, read_source
from training.fitting.trial import TimeSplits, Trial, time_splits_of, try_recipe
from training.lock import FileLock
from training.progress import Steps
from training.run_context import Provenance, RunContext
from training.search.family_trials import FamilyEvaluator, Incumbent
from training.search.open_evaluator import open_family_evaluator
from training.search.report import SearchResult, explain, log_search, winning_config, write_config
from training.search.rounds import Deadline, Search, Studies
from training.search.space import weighting_space
from training.tracking import Run, Tracking
from training.workspace import Workspace

REST_COST = 0.02
"""Largest loss on validation days at which `repeats: when_due` stays as the placement has it."""
FAMILY_SHARE = 1 / 6
"""Share of the time that preparing and measuring may spend on the fits of one family."""


def run(
    config: TrainingConfig,
    *,
    console: Console,
    started: datetime,
    clock: Callable[[], float],
    out: Path | None = None,
    resume: bool = True,
) -> SearchResult:
    """Searches for `config.search.minutes`, writes the winner to `out` and measures it once.

    `clock` tells seconds. Locked where another search holds the workspace; InsufficientData where
    the events leave no validation period. With `resume` a search of the same configuration on the
    same events goes on; it gets the whole time again.
    """
    deadline = Deadline(clock, clock(), config.search.minutes * 60.0)
    workspace = Workspace(config.workspace)
    workspace.create()
    steps = Steps(console, "search")
    # BLAS over a customer's few items gains nothing from threads, which wait for each other.
    with FileLock(workspace.search_lock).hold(), threadpool_limits(1, "blas"):
        tracking = Tracking.of(workspace)
        tracking.close_stale_runs()
        with steps.step("read"):
            source = _read(workspace, started)
            time_splits = _splits_with_validations(source, config)
        studies = Studies.open(workspace.search_database, _name(config, source), resume=resume)
        provenance = Provenance("search", code_revision(), source.fingerprint)
        with _tracked_run(tracking, config, studies) as tracked:
            with steps.step("open") as step:
                context = RunContext(provenance, seed=config.recipe.seed).reporting_to(step)
                evaluator = _open(source, time_splits, config, studies, deadline, context)
            begun = evaluator.measures() if studies.fresh else list(evaluator.objective.start)
            with steps.step("search") as step:
                search = Search(
                    evaluator=evaluator,
                    studies=studies,
                    deadline=deadline,
                    config=config,
                    reporter=step,
                    tracking=tracking,
                    tracked=tracked,
                    weightings=weighting_space(evaluator.kinds()),
                )
                search.rounds()
            winner = _winner(search)
            with steps.step("measure") as step:
                winner, trial = _measure(
                    source,
                    time_splits,
                    winner,
                    evaluator.incumbent,
                    out=out,
                    context=context.reporting_to(step),
                )
            result = _result(search, winner, trial, begun=begun)
            explain(result, console=console)
            log_search(tracked, result, source=source, time_splits=time_splits)
    return result


def _winner(search: Search) -> TrainingConfig:
    return winning_config(
        _with_validations(search.config),
        search.evaluator.incumbent,
        ranker=search.ranker_fits_in(),
    )


def _measure(
    source: TrainingSource,
    time_splits: TimeSplits,
    winner: TrainingConfig,
    incumbent: Incumbent,
    *,
    out: Path | None,
    context: RunContext,
) -> tuple[TrainingConfig, Trial]:
    """The one use of the test period; the winner is written to `out` before it.

    A ranker that does not win there is dropped from the winner, which is then written again.
    """
    if out is not None:
        write_config(winner, out)
    trial = try_recipe(source, time_splits, winner.recipe, winner.evaluation, context=context)
    if winner.recipe.ranker is not None and not any(
        decision.wins for decision in trial.ranker_decisions
    ):
        winner = winning_config(winner, incumbent, ranker=False)
        if out is not None:
            write_config(winner, out)
    return winner, trial


def _result(
    search: Search,
    winner: TrainingConfig,
    trial: Trial,
    *,
    begun: Sequence[tuple[float, float]],
) -> SearchResult:
    evaluator, deadline = search.evaluator, search.deadline
    return SearchResult(
        config=winner,
        incumbent=evaluator.incumbent,
        worth=evaluator.worth(),
        begun=tuple(begun),
        ended=tuple(evaluator.measures()),
        trials=tuple(search.trials),
        importances=search.studies.importances(),
        trial=trial,
        seconds=deadline.clock() - deadline.began,
    )


def _tracked_run(
    tracking: Tracking, config: TrainingConfig, studies: Studies
) -> AbstractContextManager[Run]:
    params = {
        "search": config.search.model_dump(mode="json"),
        "objective": config.recipe.objective,
    }
    tags = {"code_revision": code_revision(), "study": studies.name}
    return tracking.run("search", params=params, tags=tags)


def _open(
    source: TrainingSource,
    time_splits: TimeSplits,
    config: TrainingConfig,
    studies: Studies,
    deadline: Deadline,
    context: RunContext,
) -> FamilyEvaluator:
    """The evaluator at the given recipe, or at the incumbent of an earlier search, its placement's
    `repeats` chosen."""
    recipe, placement = config.recipe, _placement(config)
    latest = studies.latest()
    incumbent, starts = (_given(config, placement), None) if latest is None else latest
    if incumbent.repeats is not None:
        placement = placement.model_copy(update={"repeats": incumbent.repeats})
    if latest is not None:
        context.log(f"going on at {incumbent.value:.4f} of the start")
    evaluator = open_family_evaluator(
        source,
        time_splits,
        recipe,
        placement,
        incumbent,
        n=config.evaluation.n,
        starts=starts,
        seconds_per_fit=deadline.seconds * FAMILY_SHARE / (2 * len(time_splits.validations) + 1),
        clock=deadline.clock,
        context=context,
    )
    choose_repeats(evaluator, context=context)
    return evaluator


def choose_repeats(evaluator: FamilyEvaluator, *, context: RunContext) -> None:
    """Sets `repeats: allow` where `when_due` costs more than REST_COST on the validation periods.

    Only for a placement with `repeats: when_due`.
    """
    if evaluator.placement.repeats != "when_due" or evaluator.incumbent.repeats is not None:
        return
    names = list(evaluator.parts)
    weights = np.array([evaluator.incumbent.weights.get(name, 0.0) for name in names])
    by_period = [
        [evaluator.parts[name][period] for name in names] for period in range(len(evaluator.tables))
    ]
    scores = totals(by_period, weights)
    # Padding has the number −1; nothing else is excluded.
    free = tuple(replace(table, excluded=table.numbers < 0) for table in evaluator.tables)
    objective = replace(evaluator.objective, tables=free)
    gained = objective.value(scores) / max(evaluator.objective.value(scores), 1e-9) - 1.0
    if gained <= REST_COST:
        evaluator.incumbent = replace(evaluator.incumbent, repeats="when_due")
        return
    context.log(
        f"Items bought before are shown at any time (repeats: allow): where they rest until they "
        f"are due, the measures on validation days are {1 - 1 / (1 + gained):.0%} lower."
    )
    evaluator.tables, evaluator.objective = (
        free,
        replace(objective, start=tuple(t.measure(s) for t, s in zip(free, scores, strict=True))),
    )
    evaluator.placement = evaluator.placement.model_copy(update={"repeats": "allow"})
    evaluator.incumbent = replace(evaluator.incumbent, repeats="allow", value=1.0)


def _given(config: TrainingConfig, placement: Placement) -> Incumbent:
    """The recipe's own blend, and every family beside it that may be tried, with weight 0."""
    recipe = config.recipe
    allowed = [name for name in families() if _allowed(name, config)]
    names = dict.fromkeys([*placement.models, *allowed])
    whole = sum(placement.blend.values())
    return Incumbent(
        weighting=recipe.weighting,
        settings={name: dict(recipe.models.get(name, {})) for name in names},
        weights={name: placement.blend.get(name, 0.0) / whole for name in names},
        value=1.0,
    )


def _allowed(name: str, config: TrainingConfig) -> bool:
    rules = config.search
    if rules.families is not None:
        return name in rules.families
    allowed = rules.customer_rows or config.recipe.customer_rows
    return allowed or not family_of(name).stores_user_data


def _placement(config: TrainingConfig) -> Placement:
    for placement in config.recipe.placements:
        if placement.name == config.evaluation.placement:
            return placement
    raise InvalidConfig(
        "evaluation.placement",
        config.evaluation.placement,
        "the recipe has no such placement; name one of its placements",
    )


def _splits_with_validations(source: TrainingSource, config: TrainingConfig) -> TimeSplits:
    """InsufficientData where the events leave no validation period."""
    time_splits = time_splits_of(source, _with_validations(config).split)
    if not time_splits.validations:
        raise InsufficientData(
            f"Before the test from {time_splits.test:%Y-%m-%d} there are no "
            f"{config.split.validation_days:g} days to choose on; set "
            "'split.validation_days' lower or collect more days."
        )
    return time_splits


def _with_validations(config: TrainingConfig) -> TrainingConfig:
    validations = max(config.split.validations, config.search.validations)
    split = config.split.model_copy(update={"validations": validations})
    return config.model_copy(update={"split": split})


def _name(config: TrainingConfig, source: TrainingSource) -> str:
    """The same recipe, rules and events give the same name: such a search can go on."""
    content = {
        "recipe": config.recipe.digest(),
        "split": config.split.model_dump(mode="json"),
        "rules": config.search.model_dump(mode="json", exclude={"minutes", "ranker", "rounds"}),
        "placement": config.evaluation.placement,
        "n": config.evaluation.n,
        "events": source.fingerprint,
        "families": sorted(families()),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _read(workspace: Workspace, now: datetime) -> TrainingSource:
    store = SQLiteStore(workspace.store)
    try:
        return read_source(store, EventLog(workspace.event_log), now=now)
    finally:
        store.close()
