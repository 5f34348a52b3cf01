"""Objectives: the same lists are worth different things to different shops."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from recsys.dataset.splitting import Truth, hold_out
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.held_out_queries import numbered_truth
from recsys.evaluation.metrics import gain_ndcg_at_k, gain_recall_at_k, ndcg_at_k, recall_at_k
from recsys.evaluation.objectives import TAKING, bought_a_few_times, counts, gains, primary_measure
from recsys.evaluation.report import EvaluationRules
from recsys.events.schema import KIND_NUMBER
from recsys.ids import Vocabulary
from recsys.query.history import History
from recsys.query.query import Query

NOW = datetime(2026, 11, 1, tzinfo=UTC)
TAKEN = Truth(
    items=("cup", "pan", "bin"),
    quantities=np.array([1.0, 2.0, 1.0]),
    revenues=np.array([5.0, 60.0, np.nan]),
)


def bought(*moments: float) -> Query:
    """A person who bought one item at each of these times."""
    times = np.array(moments, np.float64)
    kinds = np.full(len(times), KIND_NUMBER["purchase"], np.int8)
    history = History(
        np.arange(len(times), dtype=np.int32), kinds, times, np.ones_like(times, np.float32)
    )
    return Query(now=NOW, history=history)


def test_conversions_count_every_item_alike_and_revenue_by_what_was_paid() -> None:
    assert gains("conversions", TAKEN).tolist() == [1.0, 1.0, 1.0]
    assert gains("revenue", TAKEN).tolist() == [5.0, 60.0, 0.0]


def test_what_is_given_back_brings_nothing() -> None:
    returned = Truth(("cup",), np.array([-1.0]), np.array([-5.0]))
    assert gains("revenue", returned).tolist() == [0.0]


def test_a_returning_customer_has_bought_once_or_a_few_times() -> None:
    assert not bought_a_few_times(bought())
    assert bought_a_few_times(bought(1.0))
    assert bought_a_few_times(bought(1.0, 1.0, 1.0, 1.0, 2.0)), (
        "items of one moment are one purchase"
    )
    assert not bought_a_few_times(bought(1.0, 2.0, 3.0, 4.0))
    assert counts("conversions", bought())
    assert not counts("returning_customers", bought())


def test_each_objective_has_a_measure_and_what_counts_as_taken() -> None:
    assert primary_measure("conversions", n=20) == "ndcg_at_20"
    assert primary_measure("clicks", n=20) == "ndcg_at_20"
    assert primary_measure("revenue", n=10) == "revenue_ndcg_at_10"
    assert primary_measure("returning_customers", n=20) == "returning_customers/ndcg_at_20"
    assert "purchase" not in TAKING["clicks"]


def test_gains_follow_the_numbers_of_the_items() -> None:
    ((numbers, places),) = numbered_truth([TAKEN], Vocabulary(["bin", "pan"]))
    assert numbers.tolist() == [0, 1, 2], "the unknown cup is numbered behind the vocabulary"
    assert gains("revenue", TAKEN)[places].tolist() == [0.0, 60.0, 5.0]


def test_recall_by_gain_is_the_share_of_the_revenue_that_was_foreseen() -> None:
    lists = [np.array([7, 1], np.int32), np.array([2], np.int32)]
    truth = [np.array([1, 2], np.int32), np.array([2], np.int32)]
    worth = [np.array([60.0, 5.0]), np.array([0.0])]
    recalls = gain_recall_at_k(lists, truth, worth, 2)
    assert recalls[0] == pytest.approx(60 / 65)
    assert np.isnan(recalls[1]), "a truth that gains nothing cannot be recalled"


def test_ndcg_by_gain_wants_the_dearest_item_first() -> None:
    truth, worth = [np.array([1, 2], np.int32)], [np.array([60.0, 5.0])]
    best = gain_ndcg_at_k([np.array([1, 2], np.int32)], truth, worth, 2)
    other = gain_ndcg_at_k([np.array([2, 1], np.int32)], truth, worth, 2)
    assert best[0] == pytest.approx(1.0)
    assert other[0] == pytest.approx((5 + 60 / np.log2(3)) / (60 + 5 / np.log2(3)))


def test_with_equal_gains_the_measures_are_the_plain_ones() -> None:
    rng = np.random.default_rng(5)
    lists = [rng.permutation(30)[:10].astype(np.int32) for _ in range(40)]
    truth = [np.unique(rng.integers(0, 30, 6)).astype(np.int32) for _ in range(40)]
    equal = [np.full(len(items), 3.0) for items in truth]
    np.testing.assert_allclose(
        gain_recall_at_k(lists, truth, equal, 5), recall_at_k(lists, truth, 5)
    )
    np.testing.assert_allclose(gain_ndcg_at_k(lists, truth, equal, 5), ndcg_at_k(lists, truth, 5))


def test_gains_of_another_length_than_the_truth_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        gain_recall_at_k([np.array([1])], [np.array([1, 2])], [np.array([1.0])], 1)


def test_a_report_measures_revenue_and_returning_customers_apart(
    bundle, small_data, small_shop
) -> None:
    held_out = hold_out(small_shop.log, cut=small_data.as_of, until=small_shop.end, seed=1)
    report = evaluate(
        bundle, small_data, held_out,
        rules=EvaluationRules(resamples=100), rng=np.random.default_rng(1),
    )  # fmt: skip
    plain, revenue = report.per_person["ndcg_at_20"], report.per_person["revenue_ndcg_at_20"]
    assert 0 < report.estimates["revenue_recall_at_20"].value < 1
    assert not np.allclose(plain, revenue, equal_nan=True)
    few = report.estimates["returning_customers/ndcg_at_20"]
    assert 0 < few.customers < report.estimates["ndcg_at_20"].customers


def test_clicks_hold_out_what_was_looked_at(small_shop) -> None:
    cut = small_shop.end - timedelta(days=5)
    looked = hold_out(small_shop.log, cut=cut, until=small_shop.end, seed=1, kinds=TAKING["clicks"])
    took = hold_out(small_shop.log, cut=cut, until=small_shop.end, seed=1)
    assert len(looked) > len(took)
