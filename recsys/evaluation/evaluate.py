"""Measures a bundle on a held-out period, with the queries and operations that serve.

Names of measures: `recall_at_20`, `ndcg_at_20`, …; a slice stands before a slash, as in
`new_items/recall_at_20`. Plain names are over customers with a history; `revenue_…` counts every
item by what the customer paid for it in the period.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.live import LiveCatalog
from recsys.catalog.rules import Rule
from recsys.dataset.splitting import HeldOut, Truth, check_no_leak
from recsys.dataset.training_data import TrainingData
from recsys.errors import InsufficientData, InvalidInput
from recsys.evaluation.baselines import BASELINES
from recsys.evaluation.intervals import Estimate, Values, estimates
from recsys.evaluation.metrics import (
    catalogue_coverage,
    gain_ndcg_at_k,
    gain_recall_at_k,
    hit_rate_at_k,
    ndcg_at_k,
    novelty,
    precision_at_k,
    recall_at_k,
    reciprocal_rank_at_k,
)
from recsys.evaluation.objectives import bought_a_few_times, gains
from recsys.evaluation.shop_metrics import Metric, metric_named
from recsys.ids import NONE, Mask, Numbers, Vocabulary
from recsys.query.builder import build_query, personal_rules_of
from recsys.query.facts import PersonFacts
from recsys.query.query import Query
from recsys.recommend.already_bought import no_repeats
from recsys.recommend.operations import recommend

MEASURES = {
    "recall": recall_at_k,
    "ndcg": ndcg_at_k,
    "hit_rate": hit_rate_at_k,
    "precision": precision_at_k,
    "mrr": reciprocal_rank_at_k,
}
GAIN_MEASURES = {"recall": gain_recall_at_k, "ndcg": gain_ndcg_at_k}
CHUNK = 256
"""Queries per batch: bounds the memory of dense scores."""


class EvaluationRules(BaseModel):
    """How an evaluation is done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    placement: str = "for_you"
    cutoffs: tuple[int, ...] = (1, 5, 10, 20)
    sample: int = Field(default=20_000, ge=1)
    """At most so many customers, drawn with the seed."""
    resamples: int = Field(default=1000, ge=100)
    singles: bool = False
    """Whether each model of the placement is also measured alone."""
    metrics: tuple[str, ...] = ()
    """Metrics of the shop's own: entry points of the group `recsys.metrics` or paths
    `module:attribute` (`recsys.evaluation.shop_metrics`)."""

    @model_validator(mode="after")
    def _metrics_exist(self) -> EvaluationRules:
        try:
            metrics = self.shop_metrics()
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        names = [metric.name for metric in metrics]
        if len(set(names)) < len(names):
            raise ValueError(f"two metrics have one name: {', '.join(names)}")
        for metric in metrics:
            if max(metric.cutoffs) > self.n:
                raise ValueError(
                    f"{metric.name} looks at {max(metric.cutoffs)} items and the lists have "
                    f"{self.n}; add {max(metric.cutoffs)} to `cutoffs`"
                )
        return self

    @property
    def n(self) -> int:
        """The length of the lists."""
        return max(self.cutoffs)

    def shop_metrics(self) -> tuple[Metric, ...]:
        """The metrics behind `metrics`."""
        return tuple(metric_named(name) for name in self.metrics)


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured over one period.

    `per_person[name]` has one value per held-out person, in one order for all names, NaN where
    the measure does not apply; `baselines[baseline]` likewise. `overall` are figures that belong to
    the lists as a whole (coverage, novelty).
    """

    cut: datetime
    until: datetime
    per_person: Mapping[str, Values]
    baselines: Mapping[str, Mapping[str, Values]]
    estimates: Mapping[str, Estimate]
    baseline_estimates: Mapping[str, Mapping[str, Estimate]]
    overall: Mapping[str, float]

    def metrics(self) -> dict[str, dict[str, object]]:
        """Name → {value, low, high, customers, baselines}, as JSON has it."""
        return {
            name: {
                "value": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "customers": estimate.customers,
                "baselines": {
                    baseline: measured[name].value
                    for baseline, measured in self.baseline_estimates.items()
                },
            }
            for name, estimate in self.estimates.items()
            if estimate.customers
        }


def evaluate(
    bundle: Bundle,
    data: TrainingData,
    held_out: HeldOut,
    *,
    rules: EvaluationRules,
    rng: Generator,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """The report of a bundle that was fitted on `data`, on what happened after it.

    Raises LeakFromFuture where `data` reaches into the held-out period, InsufficientData where
    nobody is held out. Stock is not known for the past: everything that was on offer at the cut
    counts as in stock.
    """
    check_no_leak(data, held_out)
    if not held_out.persons:
        raise InsufficientData(
            f"Nobody bought anything between {held_out.cut:%Y-%m-%d} and {held_out.until:%Y-%m-%d};"
            " hold out a longer period."
        )
    placement = _placement(bundle, rules.placement)
    asked = HeldOutQuestions.of(bundle, data, held_out)
    lists, lists_unseen = asked.answers(bundle, rules, progress=progress)
    metrics = rules.shop_metrics()

    def measured_by_all(ranked: list[Numbers], unseen: list[Numbers]) -> dict[str, Values]:
        by_shop = _shop_measures(metrics, ranked, held_out, bundle.items)
        applies = asked.slices.with_history
        return {
            **asked.slices.measure(ranked, unseen, rules.cutoffs),
            **{name: np.where(applies, values, np.nan) for name, values in by_shop.items()},
        }

    per_person = measured_by_all(lists, lists_unseen)
    eligible = asked.live_catalog.eligible(held_out.cut)
    hidden = [
        np.union1d(no_repeats(query, placement, bundle.models), query.refused)
        for query in asked.questions
    ]
    persons = list(held_out.persons)
    baselines = {
        name: measured_by_all(
            *_baseline_lists(name, data, persons, hidden, rules.n, eligible, asked.histories)
        )
        for name in BASELINES
    }
    return Report(
        cut=held_out.cut,
        until=held_out.until,
        per_person=per_person,
        baselines=baselines,
        estimates=estimates(per_person, rng=rng, resamples=rules.resamples),
        baseline_estimates={
            name: estimates(measured, rng=rng, resamples=rules.resamples)
            for name, measured in baselines.items()
        },
        overall=_overall(lists, data, eligible, rules.n),
    )


@dataclass(frozen=True, slots=True)
class HeldOutQuestions:
    """A held-out period as queries with their truth, so that several bundles can be asked.

    Everybody is asked for at the cut, with what the service would have known then: `now` is the
    cut, `session` the visit that is under way at it (empty for whoever comes back later), and
    refusals, fatigue, segments and accounts are as of it (`recsys.dataset.person_records` says what
    is not). `personal` are each person's own rules for a list of `n` items; `histories` the
    distinct items of each history.
    """

    questions: list[Query]
    facts: list[PersonFacts]
    histories: list[Numbers]
    slices: Slices
    live_catalog: LiveCatalog

    @classmethod
    def of(cls, bundle: Bundle, data: TrainingData, held_out: HeldOut) -> HeldOutQuestions:
        """The queries of everybody held out; bundles that are asked share this one's items."""
        facts = [data.facts(person, now=held_out.cut) for person in held_out.persons]
        settings = bundle.query_settings()
        questions = [
            build_query(
                known,
                settings,
                now=held_out.cut,
                context=data.records.context(person, now=held_out.cut),
            )
            for person, known in zip(held_out.persons, facts, strict=True)
        ]
        numbered = numbered_truth(held_out.truth, bundle.items)
        truth = [numbers for numbers, _ in numbered]
        revenues = [
            gains("revenue", bought)[positions]
            for bought, (_, positions) in zip(held_out.truth, numbered, strict=True)
        ]
        histories = [query.history.distinct() for query in questions]
        slices = Slices.of(data, questions, truth, revenues, histories)
        return cls(questions, facts, histories, slices, live_catalog_as_of(bundle))

    def measure(self, bundle: Bundle, rules: EvaluationRules) -> dict[str, Values]:
        """Every measure per person, without baselines and intervals."""
        return self.slices.measure(*self.answers(bundle, rules), rules.cutoffs)

    def answers(
        self,
        bundle: Bundle,
        rules: EvaluationRules,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[list[Numbers], list[Numbers]]:
        """Each person's list as it is served, and one of items that are new to the person."""
        placement = _placement(bundle, rules.placement)
        unseen = placement.model_copy(update={"repeats": "exclude_history"})
        lists: list[Numbers] = [NONE] * len(self.questions)
        lists_unseen: list[Numbers] = [NONE] * len(self.questions)
        done = 0
        for rows, personal in self._batches(placement, rules.n):
            batch = [self.questions[row] for row in rows]
            for results, asked in ((lists, placement), (lists_unseen, unseen)):
                answers = recommend(
                    bundle, batch, asked, self.live_catalog, rules.n, personal=personal
                )
                for row, answer in zip(rows, answers, strict=True):
                    results[row] = answer.numbers
            done += len(rows)
            if progress is not None:
                progress(done, len(lists))
        return lists, lists_unseen

    def _batches(
        self, placement: Placement, n: int
    ) -> Iterator[tuple[list[int], tuple[Rule, ...]]]:
        """Rows that may be asked together, at most CHUNK, and their personal rules.

        The rules of a batch hold for all of it, so that only persons with the same rules and the
        same segments share one. Batches are by history length: the over-fetch for what is hidden
        stays small.
        """
        targeted = {name for rule in placement.rules for name in rule.for_ or ()}
        groups: dict[tuple[object, ...], tuple[list[int], tuple[Rule, ...]]] = {}
        by_size = np.argsort([len(items) for items in self.histories], kind="stable")
        for row in by_size.tolist():
            personal = personal_rules_of(self.facts[row], n=n)
            key = (
                msgspec.json.encode(personal),
                frozenset(targeted.intersection(self.questions[row].segments)),
            )
            groups.setdefault(key, ([], personal))[0].append(row)
        for rows, personal in groups.values():
            for span in _chunks(len(rows)):
                yield rows[span], personal


@dataclass(frozen=True, slots=True)
class Slices:
    """Who and what counts where: masks over persons and per-person truths."""

    truth: list[Numbers]
    revenues: list[Values]
    """What each item of the truth brought in."""
    new_items: list[Numbers]
    rebuys: list[Numbers]
    cold_items: list[Numbers]
    with_history: NDArray[np.bool_]
    heavy: NDArray[np.bool_]
    returning: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        data: TrainingData,
        questions: Sequence[Query],
        truth: Sequence[Numbers],
        revenues: Sequence[Values],
        history: Sequence[Numbers],
    ) -> Slices:
        """The slices of the persons: heavy customers have more than the median number of events,
        returning ones have bought a few times (`objectives.bought_a_few_times`)."""
        warm = np.zeros(len(data.items), np.bool_)
        warm[data.timeline.items] = True
        warm[data.baskets.matrix.indices] = True
        sizes = np.array([len(query.history) for query in questions])
        with_history = sizes > 0
        median = np.median(sizes[with_history]) if with_history.any() else 0.0
        return cls(
            truth=list(truth),
            revenues=list(revenues),
            new_items=[np.setdiff1d(t, h) for t, h in zip(truth, history, strict=True)],
            rebuys=[np.intersect1d(t, h) for t, h in zip(truth, history, strict=True)],
            cold_items=[t[(t < len(warm)) & ~warm[np.minimum(t, len(warm) - 1)]] for t in truth],
            with_history=with_history,
            heavy=sizes > median,
            returning=np.array([bought_a_few_times(query) for query in questions], np.bool_),
        )

    def measure(
        self, lists: Sequence[Numbers], lists_unseen: Sequence[Numbers], cutoffs: Sequence[int]
    ) -> dict[str, Values]:
        """Every measure at every cutoff for every slice, per person."""
        whole = dict(_measured(lists, self.truth, cutoffs))
        table: dict[str, Values] = {}
        for name, values in whole.items():
            table[name] = np.where(self.with_history, values, np.nan)
        longest = [max(cutoffs)]
        for name, values in _measured(lists_unseen, self.new_items, longest):
            table[f"new_items/{name}"] = np.where(self.with_history, values, np.nan)
        for name, values in _measured(lists, self.rebuys, longest):
            table[f"rebuys/{name}"] = np.where(self.with_history, values, np.nan)
        for name, values in _measured(lists, self.cold_items, longest):
            table[f"cold_items/{name}"] = values
        for name, gain_measure in GAIN_MEASURES.items():
            values = gain_measure(lists, self.truth, self.revenues, longest[0])
            table[f"revenue_{name}_at_{longest[0]}"] = np.where(self.with_history, values, np.nan)
        for name in (f"{measure}_at_{longest[0]}" for measure in MEASURES):
            values = whole[name]
            table[f"returning_customers/{name}"] = np.where(self.returning, values, np.nan)
            table[f"heavy_customers/{name}"] = np.where(
                self.with_history & self.heavy, values, np.nan
            )
            table[f"light_customers/{name}"] = np.where(
                self.with_history & ~self.heavy, values, np.nan
            )
            table[f"new_customers/{name}"] = np.where(self.with_history, np.nan, values)
        return table


def truth_numbers(truth: Sequence[Truth], items: Vocabulary) -> list[Numbers]:
    """Each person's truth as distinct numbers; items that the vocabulary lacks are numbered behind
    it, so that they count as missed."""
    return [numbers for numbers, _ in numbered_truth(truth, items)]


def numbered_truth(
    truth: Sequence[Truth], items: Vocabulary
) -> list[tuple[Numbers, NDArray[np.intp]]]:
    """The same with the index of each number in `items` of its truth."""
    beyond: dict[str, int] = {}
    numbered = []
    for taken in truth:
        numbers = [
            number
            if (number := items.number(id)) is not None
            else beyond.setdefault(id, len(items) + len(beyond))
            for id in taken.items
        ]
        numbered.append(np.unique(np.array(numbers, np.int32), return_index=True))
    return numbered


def live_catalog_as_of(bundle: Bundle) -> LiveCatalog:
    """The availability of the bundle's catalogue in the past: its dates count, today's stock and
    withdrawals do not."""
    live_catalog = LiveCatalog.of(bundle.catalog, first_seen=bundle.first_seen)
    return replace(live_catalog, offered=np.ones_like(live_catalog.offered))


def _measured(
    lists: Sequence[Numbers], truth: Sequence[Numbers], cutoffs: Sequence[int]
) -> Iterator[tuple[str, Values]]:
    for name, measure in MEASURES.items():
        for k in cutoffs:
            yield f"{name}_at_{k}", measure(lists, truth, k)


def _shop_measures(
    metrics: Sequence[Metric], lists: Sequence[Numbers], held_out: HeldOut, items: Vocabulary
) -> dict[str, Values]:
    """`name_at_k` → one value per person, of the metrics of the shop's own."""
    if not metrics:
        return {}
    ids = [items.ids(numbers) for numbers in lists]
    truth = [chosen.items for chosen in held_out.truth]
    return {name: v for metric in metrics for name, v in metric.values(ids, truth)}


def _baseline_lists(
    name: str,
    data: TrainingData,
    persons: Sequence[str],
    hidden: Sequence[Numbers],
    n: int,
    eligible: Mask,
    history: Sequence[Numbers],
) -> tuple[list[Numbers], list[Numbers]]:
    baseline = BASELINES[name]
    return (
        baseline(data, persons, n, eligible=eligible, hidden=hidden),
        baseline(data, persons, n, eligible=eligible, hidden=history),
    )


def _overall(
    lists: Sequence[Numbers], data: TrainingData, eligible: Mask, n: int
) -> dict[str, float]:
    counts = np.bincount(data.timeline.items, minlength=len(data.items)).astype(np.float64)
    return {
        f"coverage_at_{n}": catalogue_coverage(lists, n, n_items=int(eligible.sum())),
        f"novelty_at_{n}": float(np.nanmean(novelty(lists, n, counts=counts))),
    }


def _placement(bundle: Bundle, name: str) -> Placement:
    placement = bundle.placement(name)
    if placement is None:
        raise InsufficientData(f"Bundle {bundle.model_version} has no placement {name!r}.")
    return placement


def _chunks(n: int) -> Iterator[slice]:
    for start in range(0, n, CHUNK):
        yield slice(start, min(start + CHUNK, n))
