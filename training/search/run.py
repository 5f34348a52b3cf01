"""The search as a whole: read → open → search → measure → tell.

All that is chosen is chosen on validation periods; the test period is looked at once, when the
choice is made and written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

from recsys.bundle.placements import Placement
from recsys.errors import InsufficientData, InvalidConfig
from recsys.events.log import EventLog
from recsys.models.registry import MODELS
from recsys.store.sqlite import SQLiteStore
from training.code_revision import code_revision
from training.config import TrainingConfig
from training.fitting.blend_weights import totals
from training.fitting.build import Provenance
from training.fitting.source import Source, read_source
from training.fitting.trial import TimeSplits, time_splits_of, try_recipe
from training.lock import FileLock
from training.progress import Bar, Steps
from training.search.family_trials import FamilyEvaluator, Incumbent, open_family_evaluator
from training.search.report import Found, explain, log_search, winning_config, write_config
from training.search.rounds import Deadline, Search, Studies
from training.search.space import weighting_space
from training.search.trials import Tried
from training.tracking import Tracking
from training.workspace import Workspace

REST_COST = 0.02
"""How much resting may cost on validation days for a shop to keep what its placement says."""
FAMILY_SHARE = 1 / 6
"""Of the time, what opening and measuring may spend on the fits of one family."""


def run(
    config: TrainingConfig,
    *,
    console: Console,
    started: datetime,
    clock: Callable[[], float],
    out: Path | None = None,
    resume: bool = True,
) -> Found:
    """Searches for `config.search.minutes`, writes the winner to `out` and measures it once.

    `clock` tells seconds. Locked where another search holds the workspace; InsufficientData where
    the events leave no validation period. With `resume` a search of the same configuration on the
    same events goes on; it gets the whole time again.
    """
    rules = config.search
    deadline = Deadline(clock, clock(), rules.minutes * 60.0)
    workspace = Workspace(config.workspace)
    workspace.create()
    steps = Steps(console)
    # BLAS over a customer's few items gains nothing from threads, which wait for each other.
    with FileLock(workspace.search_lock).hold(), threadpool_limits(1, "blas"):
        tracking = Tracking.of(workspace)
        tracking.close_stale_runs()
        with steps.step("read"):
            source = _read(workspace, started)
            cuts = time_splits_of(source, _with_validations(config).split)
            if not cuts.validations:
                raise InsufficientData(
                    f"Before the test from {cuts.test:%Y-%m-%d} there are no "
                    f"{config.split.validation_days:g} days to choose on; set "
                    "'split.validation_days' lower or collect more days."
                )
        studies = Studies.open(workspace.search_database, _name(config, source), resume=resume)
        told = {"search": rules.model_dump(mode="json"), "objective": config.recipe.objective}
        tags = {"code_revision": code_revision(), "study": studies.name}
        with tracking.run("search", params=told, tags=tags) as tracked:
            tried: list[Tried] = []
            with steps.step("open") as bar:
                bench = _open(source, cuts, config, studies, deadline, bar)
                choose_repeats(bench, say=bar.say)
            begun = bench.measures() if studies.fresh else list(bench.judge.start)
            with steps.step("search") as bar:
                search = Search(
                    bench=bench,
                    studies=studies,
                    deadline=deadline,
                    config=config,
                    bar=bar,
                    tracking=tracking,
                    tracked=tracked,
                    tried=tried,
                    weightings=weighting_space(bench.kinds()),
                )
                search.rounds()
            winner = winning_config(
                _with_validations(config), bench.standing, ranker=search.ranker_fits_in()
            )
            if out is not None:
                write_config(winner, out)
            with steps.step("measure") as bar:
                trial = try_recipe(
                    source,
                    cuts,
                    winner.recipe,
                    winner.evaluation,
                    seed=winner.recipe.seed,
                    provenance=Provenance("search", code_revision(), source.fingerprint),
                    tell=bar.tell,
                    progress=bar.progress,
                )
            if winner.recipe.ranker is not None and not any(one.wins for one in trial.verdicts):
                winner = winning_config(winner, bench.standing, ranker=False)
                if out is not None:
                    write_config(winner, out)
            found = Found(
                config=winner,
                standing=bench.standing,
                worth=bench.worth(),
                begun=tuple(begun),
                ended=tuple(bench.measures()),
                tried=tuple(tried),
                importances=studies.importances(),
                trial=trial,
                seconds=clock() - deadline.began,
            )
            explain(found, console=console)
            log_search(tracked, found, source=source, cuts=cuts)
    return found


def _open(
    source: Source,
    cuts: TimeSplits,
    config: TrainingConfig,
    studies: Studies,
    deadline: Deadline,
    bar: Bar,
) -> FamilyEvaluator:
    """The workbench at the recipe as it is given, or where an earlier search has left it."""
    recipe, placement = config.recipe, _placement(config)
    latest = studies.latest()
    standing, starts = (_given(config, placement), None) if latest is None else latest
    if standing.repeats is not None:
        placement = placement.model_copy(update={"repeats": standing.repeats})
    if latest is not None:
        bar.say(f"going on at {standing.value:.4f} of the start")
    return open_family_evaluator(
        source,
        cuts,
        recipe,
        placement,
        standing,
        n=config.evaluation.n,
        starts=starts,
        seconds_per_fit=deadline.seconds * FAMILY_SHARE / (2 * len(cuts.validations) + 1),
        clock=deadline.clock,
        tell=bar.tell,
        say=bar.say,
    )


def choose_repeats(bench: FamilyEvaluator, *, say: Callable[[str], None]) -> None:
    """Shows own items at any time where resting until they are due costs more than REST_COST on
    the validation periods; for a placement with `repeats: when_due` alone."""
    if bench.placement.repeats != "when_due" or bench.standing.repeats is not None:
        return
    names = list(bench.parts)
    weights = np.array([bench.standing.weights.get(name, 0.0) for name in names])
    by_period = [[bench.parts[name][place] for name in names] for place in range(len(bench.tables))]
    scores = totals(by_period, weights)
    # Padding has the number −1; nothing else is hidden.
    free = tuple(replace(table, hidden=table.numbers < 0) for table in bench.tables)
    judge = replace(bench.judge, tables=free)
    gained = judge.value(scores) / max(bench.judge.value(scores), 1e-9) - 1.0
    if gained <= REST_COST:
        bench.standing = replace(bench.standing, repeats="when_due")
        return
    say(
        f"Items bought before are shown at any time (repeats: allow): where they rest until they "
        f"are due, the measures on validation days are {1 - 1 / (1 + gained):.0%} lower."
    )
    bench.tables, bench.judge = (
        free,
        replace(judge, start=tuple(t.measure(s) for t, s in zip(free, scores, strict=True))),
    )
    bench.placement = bench.placement.model_copy(update={"repeats": "allow"})
    bench.standing = replace(bench.standing, repeats="allow", value=1.0)


def _given(config: TrainingConfig, placement: Placement) -> Incumbent:
    """The recipe's own blend, and every family beside it that may be tried, with weight 0."""
    recipe = config.recipe
    allowed = [name for name in MODELS if _allowed(name, config)]
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
    return allowed or not MODELS[name].model.stores_user_data


def _placement(config: TrainingConfig) -> Placement:
    for placement in config.recipe.placements:
        if placement.name == config.evaluation.placement:
            return placement
    raise InvalidConfig(
        "evaluation.placement",
        config.evaluation.placement,
        "the recipe has no such placement; name one of its placements",
    )


def _with_validations(config: TrainingConfig) -> TrainingConfig:
    validations = max(config.split.validations, config.search.validations)
    split = config.split.model_copy(update={"validations": validations})
    return config.model_copy(update={"split": split})


def _name(config: TrainingConfig, source: Source) -> str:
    """The same recipe, rules and events give the same name: such a search can go on."""
    told = {
        "recipe": config.recipe.digest(),
        "split": config.split.model_dump(mode="json"),
        "rules": config.search.model_dump(mode="json", exclude={"minutes", "ranker", "rounds"}),
        "placement": config.evaluation.placement,
        "n": config.evaluation.n,
        "events": source.fingerprint,
        "families": sorted(MODELS),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def _read(workspace: Workspace, now: datetime) -> Source:
    store = SQLiteStore(workspace.store)
    try:
        return read_source(store, EventLog(workspace.event_log), now=now)
    finally:
        store.close()
