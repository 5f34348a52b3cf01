"""`evaluate`: measures a bundle on a held-out period with the queries and operations that serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from recsys.bundle.bundle import Bundle
from recsys.dataset.splitting import HeldOut, check_no_leak
from recsys.dataset.training_data import TrainingData
from recsys.errors import InsufficientData
from recsys.evaluation.baselines import BASELINES
from recsys.evaluation.held_out_queries import HeldOutQueries, placement_of
from recsys.evaluation.intervals import Values, estimates
from recsys.evaluation.metrics import catalogue_coverage, novelty
from recsys.evaluation.report import EvaluationRules, Report
from recsys.evaluation.shop_metrics import Metric
from recsys.ids import Mask, Numbers, Vocabulary
from recsys.recommend.already_bought import no_repeats


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
    placement = placement_of(bundle, rules)
    asked = HeldOutQueries.of(bundle, data, held_out)
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
    excluded = [
        np.union1d(no_repeats(query, placement, bundle.models), query.refused)
        for query in asked.queries
    ]
    persons = list(held_out.persons)
    baselines = {
        name: measured_by_all(
            *_baseline_lists(name, data, persons, excluded, rules.n, eligible, asked.histories)
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
    excluded: Sequence[Numbers],
    n: int,
    eligible: Mask,
    history: Sequence[Numbers],
) -> tuple[list[Numbers], list[Numbers]]:
    baseline = BASELINES[name]
    return (
        baseline(data, persons, n, eligible=eligible, excluded=excluded),
        baseline(data, persons, n, eligible=eligible, excluded=history),
    )


def _overall(
    lists: Sequence[Numbers], data: TrainingData, eligible: Mask, n: int
) -> dict[str, float]:
    counts = np.bincount(data.timeline.items, minlength=len(data.items)).astype(np.float64)
    return {
        f"coverage_at_{n}": catalogue_coverage(lists, n, n_items=int(eligible.sum())),
        f"novelty_at_{n}": float(np.nanmean(novelty(lists, n, counts=counts))),
    }
