"""Chooses families, settings and blend on validation queries, then scores the test set once.

tune(prepared, searches, …)
    explore      coordinate search of each family's settings, the least searched first
    weigh        the weights of the best of each family together
    rank         a second stage over them, where cross-fitting says that it wins
    measure      every family fitted on all training data; metrics of the test lists

`recsys search` judges a setting by what it adds to the blend, over hours and several periods. Here
a published protocol has one validation part and minutes: each family is judged alone, by a walk
from a published starting point.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.errors import InsufficientData
from recsys.ids import NONE, Numbers
from recsys.models.registry import MODELS
from recsys.ranking.ranker import Ranker
from training.benchmark.candidates import Candidate, FamilySearch
from training.benchmark.metrics import TaskMetrics
from training.benchmark.results import CandidateResult, TuningResult
from training.benchmark.task_data import BenchmarkTask, PreparedSet, WeightedData
from training.benchmark.tuning.blend import FittedModel, blended_lists, choose_weights, lists_of
from training.benchmark.tuning.second_stage import ranked_lists, second_stage
from training.progress import StepProgress, Steps

SAMPLE = 4000
"""Validation queries at most: settings differ by more than the error of so many."""
CHEAP = 0.05
"""Share of the budget that one family may spend before the next one starts."""
THREADS = 2


@dataclass(frozen=True, slots=True)
class Budget:
    """How long the search may last; `clock` counts seconds."""

    seconds: float
    clock: Callable[[], float]
    started: float

    @classmethod
    def of(cls, minutes: float, clock: Callable[[], float]) -> Budget:
        """A budget that runs from now on."""
        return cls(60.0 * minutes, clock, clock())

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started


Trials = Generator[Candidate, bool, None]
"""Yields what to try next and is sent whether it was better than all before."""


@dataclass(slots=True)
class _FamilyState:
    """How far the search of one family has come, and what it cost so far."""

    search: FamilySearch
    trials: Trials
    upcoming: Candidate | None
    best: Candidate
    value: float = float("-inf")
    fitted: FittedModel | None = None
    seconds: float = 0.0
    last_seconds: float = 0.0
    last_fit: float = 0.0
    fit_seconds: float = 0.0

    @classmethod
    def of(cls, search: FamilySearch) -> _FamilyState:
        trials = coordinate_trials(search)
        return cls(search, trials, upcoming=next(trials), best=search.first())

    @property
    def name(self) -> str:
        """The row in the table."""
        return self.search.name

    def advance(self, *, better: bool) -> None:
        """Moves on to the next trial."""
        try:
            self.upcoming = self.trials.send(better)
        except StopIteration:
            self.upcoming = None


def coordinate_trials(search: FamilySearch) -> Trials:
    """The start, then one setting after the other: its next values upwards as long as they are
    better, downwards where the first of them is not."""
    best = search.first()
    yield best
    for name in search.searched:
        for direction in (1, -1):
            n_better = 0
            while True:
                try:
                    value = search.adjacent(name, best.value(name), direction)
                except ValueError:
                    break
                changed = best.changed(name, value)
                if not (yield changed):
                    break
                best = changed
                n_better += 1
            if n_better:
                break


def tune(
    prepared: PreparedSet,
    searches: Sequence[FamilySearch],
    *,
    budget: Budget,
    seed: int,
    steps: Steps,
) -> TuningResult:
    """The result of one set. Only the last step scores the test set.

    InsufficientData where the validation or the test part has no query.
    """
    validation, test, metrics = prepared.validation, prepared.test, prepared.metrics
    for name, task in (("validation", validation), ("test", test)):
        if not len(task):
            raise InsufficientData(f"The {name} part has no query with an answer.")
    sample = validation.sampled(SAMPLE, rng=np.random.default_rng(seed))
    n_test_per_query = len(test) / len(sample)
    # Threads of BLAS are for fits; folding single histories in with several is slower.
    with threadpool_limits(1, "blas"):
        with steps.step("explore") as step:
            states = explore(
                sample,
                searches,
                metrics,
                n_test_per_query=n_test_per_query,
                budget=budget,
                seed=seed,
                step=step,
            )
        models = {state.name: state.fitted for state in states if state.fitted is not None}
        with steps.step("weigh"):
            best = max(states, key=lambda state: state.value).name
            blend = choose_weights(models, best, sample, metrics)
        steps.log("blend: " + ", ".join(f"{name} {share:.3f}" for name, share in blend.items()))
        with steps.step("rank"):
            stage = second_stage(models, blend, sample, metrics, seed=seed)
        steps.log(
            f"the ranker {'orders the blend' if stage.ranker else 'is left out'}: "
            f"{stage.gain:+.4f} (standard error {stage.standard_error:.4f}) over the blend"
        )
        if validation.data is not test.data:
            models.clear()
        results, lists = _measure(
            states, models, blend, stage.ranker, prepared, seed=seed, steps=steps
        )
    return TuningResult.of(
        results,
        blend,
        metrics.per_query(lists, test.truth),
        seed=seed,
        ranked=stage.ranker is not None,
        seconds=budget.spent,
        memory=max(cost.peak_mb for cost in steps.costs),
        n_test=len(test),
        n_validation=len(sample),
    )


def explore(
    sample: BenchmarkTask,
    searches: Sequence[FamilySearch],
    metrics: TaskMetrics,
    *,
    n_test_per_query: float,
    budget: Budget,
    seed: int,
    step: StepProgress,
) -> list[_FamilyState]:
    """Searches all families to their ends or the budget's; each start is tried whatever it takes.

    A family that is cheap goes on before the next one starts (CHEAP), so that costly starts cannot
    leave a quick family at its first settings; then the least searched comes first.
    `n_test_per_query` is the number of test queries per query of the sample.
    """
    weighted = WeightedData(sample.data)
    states = [_FamilyState.of(search) for search in searches]
    open_states = list(states)
    while open_states:
        state = min(open_states, key=lambda state: _turn(state, CHEAP * budget.seconds))
        candidate = state.upcoming
        if candidate is None or (
            state.fitted is not None
            and budget.spent + _test_seconds(states, n_test_per_query) + state.last_seconds
            > budget.seconds
        ):
            open_states.remove(state)
            continue
        step.report_progress(f"{state.name} {candidate}")
        step.count(int(min(budget.spent, budget.seconds)), int(budget.seconds))
        started = budget.clock()
        fitted = fit(candidate, weighted, seed=seed)
        state.last_fit = budget.clock() - started
        value = metrics.value(lists_of(fitted, sample, metrics.objective_k), sample.truth)
        state.last_seconds = budget.clock() - started
        state.seconds += state.last_seconds
        better = value > state.value
        if better:
            state.best, state.value, state.fitted = candidate, value, fitted
            state.fit_seconds = state.last_fit
            step.log(f"{value:.4f} {state.name}: {candidate}")
        state.advance(better=better)
    return states


def _test_seconds(states: Sequence[_FamilyState], n_test_per_query: float) -> float:
    """The time to refit each started family and to score the test set with it, alone and in the
    blend, where it scores on fewer candidates."""
    return sum(
        state.fit_seconds + 1.5 * n_test_per_query * (state.last_seconds - state.last_fit)
        for state in states
    )


def _turn(state: _FamilyState, cheap: float) -> tuple[int, float]:
    """The family with the lowest comes next."""
    if state.fitted is None:
        return 1, 0.0
    return 0 if state.seconds + state.last_seconds <= cheap else 2, state.seconds


def fit(candidate: Candidate, weighted: WeightedData, *, seed: int) -> FittedModel:
    """The candidate fitted on the data under its half-life; the same for the same seed."""
    family = MODELS[candidate.family]
    data = weighted.at(candidate.half_life)
    config = family.config.model_validate(candidate.family_settings)
    rng = np.random.default_rng([seed, *candidate.family.encode()])
    with threadpool_limits(THREADS, "blas"):
        return FittedModel(family.fit(data, config, rng=rng), data)


def _measure(
    states: Sequence[_FamilyState],
    reusable: dict[str, FittedModel],
    blend: Mapping[str, float],
    ranker: Ranker | None,
    prepared: PreparedSet,
    *,
    seed: int,
    steps: Steps,
) -> tuple[dict[str, CandidateResult], list[Numbers]]:
    """Every family's test result, and the test lists of the blend. `reusable` are models of the
    search that were fitted on the test's data.

    Holds one model at a time and those of the blend.
    """
    test, metrics = prepared.test, prepared.metrics
    results: dict[str, CandidateResult] = {}
    in_blend: dict[str, FittedModel] = {}
    weighted = WeightedData(test.data)
    lists: list[Numbers] = [NONE] * len(test)
    for state in states:
        state.fitted = None
    for state in states:
        name, saved = state.name, state.fit_seconds if state.name in reusable else 0.0
        with steps.step(name) as step:
            model = reusable.pop(name, None) or fit(state.best, weighted, seed=seed)
            step.report_progress("test")
            lists_alone = lists_of(model, test, metrics.n)
        results[name] = CandidateResult(
            metrics.per_query(lists_alone, test.truth),
            settings=dict(state.best.settings),
            seconds=steps.costs[-1].seconds + saved,
            memory=steps.costs[-1].peak_mb,
            validation=state.value,
        )
        if name in blend:
            in_blend[name] = model
        if list(blend) == [name] and ranker is None:
            lists = lists_alone
    if len(in_blend) > 1 or ranker is not None:
        with steps.step("blend") as step:
            lists_by_row = (
                blended_lists(in_blend, blend, test, metrics.n)
                if ranker is None
                else ranked_lists(ranker, in_blend, blend, test, metrics.n)
            )
            for done, (row, best) in enumerate(lists_by_row):
                lists[row] = best
                if done % 1000 == 0:
                    step.count(done, len(test))
    return results, lists
