"""Finds families, settings and blend on validation questions, then measures once on the test.

measure(validation, test, …)
    explore      each family's settings, one at a time, those least searched first
    weigh        the best of each family together
    rank         a second stage over them, where cross-fitting says that it wins
    settle       every family fitted on all that may be learnt from; test lists measured
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.errors import InsufficientData
from recsys.evaluation.intervals import Estimate, paired_differences
from recsys.evaluation.metrics import PerQuery
from recsys.ids import NONE, Numbers
from recsys.models.registry import MODELS
from recsys.ranking.ranker import Ranker
from training.benchmark.measures import Rules, means
from training.benchmark.spaces import Candidate, Space
from training.benchmark.task_data import BenchmarkTask, Weighings
from training.benchmark.tuning.blend import Fitted, blended_lists, choose_weights, lists_of
from training.benchmark.tuning.second_stage import ranked_lists, second_stage
from training.progress import StepProgress, Steps

SAMPLE = 4000
"""Validation questions at most: settings differ by more than the error of so many."""
CHEAP = 0.05
"""Share of the budget that a walk may spend before the next one starts."""
THREADS = 2
RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Budget:
    """How long the search may last; what the last fits will take is kept back."""

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


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a model's measures on the test by question, and what it cost.

    `validation` is its objective there, NaN where it was not asked alone. `lead` is what validation
    chose minus this model, on the same questions, by measure.
    """

    per_question: Mapping[str, PerQuery]
    seconds: float
    memory: float
    settings: Mapping[str, object]
    validation: float = float("nan")
    lead: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """The means."""
        return means(self.per_question)

    def led_by(self, chosen: Mapping[str, PerQuery], *, rng: np.random.Generator) -> Row:
        """The row with its paired differences from what was chosen."""
        lead = paired_differences(chosen, self.per_question, rng=rng, resamples=RESAMPLES)
        return replace(self, lead=lead)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task came to. `chosen` are the test measures of what validation chose."""

    models: Mapping[str, Row]
    blend: Mapping[str, float]
    chosen: Mapping[str, float]
    ranked: bool
    seconds: float
    memory: float
    questions: int
    validation_questions: int


@dataclass(slots=True)
class _Walk:
    """The walk through one space: the best so far, what it cost, and what comes next."""

    space: Space
    best: Candidate
    value: float = float("-inf")
    fitted: Fitted | None = None
    seconds: float = 0.0
    last_seconds: float = 0.0
    last_fit: float = 0.0
    fit_seconds: float = 0.0
    pending: Iterator[tuple[str, object]] = field(default_factory=lambda: iter(()))

    @classmethod
    def of(cls, space: Space) -> _Walk:
        steps = [(name, value) for name, values in space.steps.items() for value in values]
        return cls(space, Candidate(space.family, space.start), pending=iter(steps))

    def next(self) -> Candidate | None:
        """What to try now; None at the end of the walk."""
        if self.fitted is None:
            return self.best
        for name, value in self.pending:
            if self.best.settings.get(name, _default(self.space.family, name)) != value:
                return self.best.changed(name, value)
        return None


def measure(
    validation: BenchmarkTask,
    test: BenchmarkTask,
    spaces: Sequence[Space],
    rules: Rules,
    *,
    budget: Budget,
    seed: int,
    steps: Steps,
) -> Outcome:
    """The outcome of one set. Only the last step looks at the test.

    InsufficientData where there is nothing to ask in one of the two.
    """
    for name, exam in (("validation", validation), ("test", test)):
        if not len(exam):
            raise InsufficientData(f"The {name} part has no question with an answer.")
    sample = validation.sampled(SAMPLE, rng=np.random.default_rng(seed))
    # Threads of BLAS are for fits; folding single histories in with several is slower.
    with threadpool_limits(1, "blas"):
        with steps.step("explore") as bar:
            walks = explore(
                sample,
                spaces,
                rules,
                to_answer=len(test) / len(sample),
                budget=budget,
                seed=seed,
                bar=bar,
            )
        with steps.step("weigh"):
            fitted = {walk.space.name: walk.fitted for walk in walks if walk.fitted is not None}
            values = {walk.space.name: walk.value for walk in walks}
            blend = choose_weights(fitted, values, sample, rules)
        steps.log("blend: " + ", ".join(f"{name} {share:.3f}" for name, share in blend.items()))
        with steps.step("rank"):
            ranking = second_stage(
                {name: fitted[name] for name in blend}, blend, sample, rules, seed=seed
            )
        steps.log(
            f"the ranker {'orders the blend' if ranking.ranker else 'is left out'}: "
            f"{ranking.gain:+.4f} (standard error {ranking.standard_error:.4f}) beside the blend"
        )
        if validation.data is not test.data:
            fitted.clear()
        rows, lists = _settle(
            walks, fitted, blend, ranking.ranker, test, rules, seed=seed, steps=steps
        )
    chosen = rules.per_question(lists, test.truth)
    return Outcome(
        {name: row.led_by(chosen, rng=np.random.default_rng(seed)) for name, row in rows.items()},
        blend,
        means(chosen),
        ranked=ranking.ranker is not None,
        seconds=budget.spent,
        memory=max(cost.peak_mb for cost in steps.costs),
        questions=len(test),
        validation_questions=len(sample),
    )


def _settle(
    walks: Sequence[_Walk],
    fitted: dict[str, Fitted],
    blend: Mapping[str, float],
    ranker: Ranker | None,
    test: BenchmarkTask,
    rules: Rules,
    *,
    seed: int,
    steps: Steps,
) -> tuple[dict[str, Row], list[Numbers]]:
    """Every family's row, and the lists of the blend; `fitted` are models that serve as they are.

    Memory is that of one model and of those in the blend: the models of the search are let go.
    """
    rows: dict[str, Row] = {}
    kept: dict[str, Fitted] = {}
    weighings = Weighings(test.data)
    lists: list[Numbers] = [NONE] * len(test)
    for walk in walks:
        walk.fitted = None
    for walk in walks:
        name, spared = walk.space.name, walk.fit_seconds if walk.space.name in fitted else 0.0
        with steps.step(name) as bar:
            model = fitted.pop(name, None) or fit(walk.best, weighings, seed=seed)
            bar.report_progress("test")
            lists_alone = lists_of(model, test, rules.length)
        cost = steps.costs[-1]
        rows[name] = Row(
            rules.per_question(lists_alone, test.truth),
            cost.seconds + spared,
            cost.peak_mb,
            dict(walk.best.settings),
            walk.value,
        )
        if name in blend:
            kept[name] = model
        if list(blend) == [name] and ranker is None:
            lists = lists_alone
    if len(kept) > 1 or ranker is not None:
        with steps.step("blend") as bar:
            found = (
                blended_lists(kept, blend, test, rules.length)
                if ranker is None
                else ranked_lists(ranker, kept, blend, test, rules)
            )
            for done, (row, best) in enumerate(found):
                lists[row] = best
                if done % 1000 == 0:
                    bar.count(done, len(test))
    return rows, lists


def explore(
    sample: BenchmarkTask,
    spaces: Sequence[Space],
    rules: Rules,
    *,
    to_answer: float,
    budget: Budget,
    seed: int,
    bar: StepProgress,
) -> list[_Walk]:
    """Walks all spaces until their ends or the budget's; each start is tried whatever it takes.

    What is cheap goes on before the next walk starts (CHEAP), so that dear starts cannot leave a
    quick family at its first settings; then those least searched come first. `to_answer` is how
    many times the sample the test has questions.
    """
    weighings = Weighings(sample.data)
    walks = [_Walk.of(space) for space in spaces]
    open_walks = list(walks)
    while open_walks:
        walk = min(open_walks, key=lambda one: _turn(one, CHEAP * budget.seconds))
        contender = walk.next()
        begun = walk.fitted is not None
        # What has begun is fitted once more, and answers the test alone and in the blend.
        reserve = sum(
            one.fit_seconds + 1.5 * to_answer * (one.last_seconds - one.last_fit) for one in walks
        )
        if contender is None or (
            begun and budget.spent + reserve + walk.last_seconds > budget.seconds
        ):
            open_walks.remove(walk)
            continue
        bar.report_progress(f"{walk.space.name} {contender.in_words()}")
        bar.count(int(min(budget.spent, budget.seconds)), int(budget.seconds))
        started = budget.clock()
        fitted = fit(contender, weighings, seed=seed)
        fit_took = budget.clock() - started
        value = rules.value(lists_of(fitted, sample, rules.objective_k), sample.truth)
        took = budget.clock() - started
        walk.seconds += took
        walk.last_seconds, walk.last_fit = took, fit_took
        if value > walk.value:
            walk.best, walk.value, walk.fitted = contender, value, fitted
            walk.fit_seconds = fit_took
            bar.log(f"{value:.4f} {walk.space.name}: {contender.in_words()}")
    return walks


def _turn(walk: _Walk, cheap: float) -> tuple[int, float]:
    """The walk with the lowest comes next."""
    if walk.fitted is None:
        return 1, 0.0
    return 0 if walk.seconds + walk.last_seconds <= cheap else 2, walk.seconds


def fit(contender: Candidate, weighings: Weighings, *, seed: int) -> Fitted:
    """The contender fitted on the data under its half-life; the same for the same seed."""
    family = MODELS[contender.family]
    data = weighings.at(contender.half_life)
    config = family.config.model_validate(contender.own)
    rng = np.random.default_rng([seed, *contender.family.encode()])
    with threadpool_limits(THREADS, "blas"):
        return Fitted(family.fit(data, config, rng=rng), data)


def _default(family: str, name: str) -> object:
    field_of = MODELS[family].config.model_fields.get(name)
    return None if field_of is None else field_of.default
