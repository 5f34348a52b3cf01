"""What is measured is what is served, on days that nobody has seen."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.dataset.splitting import HeldOut, Truth, hold_out
from recsys.dataset.training_data import TrainingData
from recsys.errors import LeakFromFuture
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.held_out_queries import live_catalog_as_of, truth_numbers
from recsys.evaluation.metrics import ndcg_at_k, recall_at_k
from recsys.evaluation.report import EvaluationRules, Report
from recsys.ids import Vocabulary
from recsys.recommend.operations import recommend

RULES = EvaluationRules(cutoffs=(5, 20), resamples=200)


@pytest.fixture(scope="module")
def held_out(small_shop, small_data: TrainingData) -> HeldOut:
    return hold_out(small_shop.log, cut=small_data.as_of, until=small_shop.end, seed=1)


@pytest.fixture(scope="module")
def report(bundle: Bundle, small_data: TrainingData, held_out: HeldOut) -> Report:
    return evaluate(bundle, small_data, held_out, rules=RULES, rng=np.random.default_rng(1))


def test_the_figures_are_those_of_the_served_lists(
    bundle: Bundle, small_data: TrainingData, held_out: HeldOut, report: Report
) -> None:
    queries = small_data.queries(held_out.persons, now=held_out.cut)
    lists = [
        answer.numbers
        for answer in recommend(
            bundle, queries, bundle.placements["for_you"], live_catalog_as_of(bundle), 20
        )
    ]
    truth = truth_numbers(held_out.truth, bundle.items)
    known = np.array([len(query.history) > 0 for query in queries])
    for name, measure in (("recall_at_20", recall_at_k), ("ndcg_at_20", ndcg_at_k)):
        expected = measure(lists, truth, 20)
        np.testing.assert_allclose(report.per_person[name][known], expected[known])
        assert report.estimates[name].value == pytest.approx(expected[known].mean())


def test_a_personal_model_beats_popularity_by_a_clear_margin(report: Report) -> None:
    ours = report.estimates["ndcg_at_20"].value
    assert ours > 1.2 * report.baseline_estimates["popularity"]["ndcg_at_20"].value
    assert report.estimates["ndcg_at_20"].low < ours < report.estimates["ndcg_at_20"].high


def test_rebuys_and_new_items_are_told_apart(
    small_data: TrainingData, held_out: HeldOut, report: Report, bundle: Bundle
) -> None:
    truth = truth_numbers(held_out.truth, bundle.items)
    queries = small_data.queries(held_out.persons, now=held_out.cut)
    for row, query in enumerate(queries):
        if not len(query.history):
            continue
        again = np.isin(truth[row], query.history.items)
        assert np.isnan(report.per_person["rebuys/recall_at_20"][row]) == (not again.any())
        assert np.isnan(report.per_person["new_items/recall_at_20"][row]) == again.all()


def test_heavy_and_light_customers_share_the_known_ones(report: Report) -> None:
    known = report.estimates["ndcg_at_20"].customers
    heavy = report.estimates["heavy_customers/ndcg_at_20"].customers
    light = report.estimates["light_customers/ndcg_at_20"].customers
    assert heavy + light == known
    assert heavy > 0
    assert light > 0


def test_the_json_form_has_value_interval_and_baselines(report: Report) -> None:
    measured = report.metrics()["ndcg_at_20"]
    assert set(measured) == {"value", "low", "high", "customers", "baselines"}
    assert set(measured["baselines"]) == {"popularity", "popularity_30_days", "personal_frequency"}


def test_coverage_is_a_share_of_what_was_on_offer(report: Report) -> None:
    assert 0 < report.overall["coverage_at_20"] <= 1
    assert report.overall["novelty_at_20"] > 0


def test_data_that_reach_into_the_held_out_days_are_refused(
    bundle: Bundle, small_shop, held_out: HeldOut
) -> None:
    later = small_shop.as_of(held_out.cut + timedelta(days=1))
    with pytest.raises(LeakFromFuture):
        evaluate(bundle, later, held_out, rules=RULES, rng=np.random.default_rng(1))


def test_items_that_were_unknown_at_the_cut_count_as_missed() -> None:
    unknown = Truth(("a", "later", "latest"), np.ones(3), np.ones(3))
    (numbers,) = truth_numbers([unknown], Vocabulary(["a", "b"]))
    assert numbers.tolist() == [0, 2, 3]
    hits = recall_at_k([np.array([0, 1], np.int32)], [numbers], 2)
    assert hits.tolist() == pytest.approx([1 / 3])


def test_the_same_seed_gives_the_same_report(
    bundle: Bundle, small_data: TrainingData, held_out: HeldOut, report: Report
) -> None:
    again = evaluate(bundle, small_data, held_out, rules=RULES, rng=np.random.default_rng(1))
    assert again.estimates["ndcg_at_20"] == report.estimates["ndcg_at_20"]
