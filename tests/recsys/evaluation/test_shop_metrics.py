"""Metrics of the shop's own: named by path, measured like the built-in ones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from recsys.bundle.bundle import Bundle
from recsys.dataset.splitting import hold_out
from recsys.dataset.training_data import TrainingData
from recsys.errors import InvalidInput
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.report import EvaluationRules
from recsys.evaluation.shop_metrics import BUILT_IN, Metric, metric_named
from recsys.evaluation.slices import MEASURES

MODULE = '''
from recsys.evaluation.shop_metrics import Metric

def shares(lists, truth):
    """Hits over the length of the truth, as recall counts them."""
    return [len(set(items) & set(chosen)) / len(chosen) for items, chosen in zip(lists, truth)]

def shorter(lists, truth):
    return [1.0]

HITS = Metric("hits_of_ours", (5, 20), shares)
AGAIN = Metric("hits_of_ours", (5,), shares)
SHORT = Metric("short", (5,), shorter)
DEEP = Metric("deep", (50,), shares)
NOTHING = 7
'''


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`shop_figures_of_ours`, a module outside the package."""
    (tmp_path / "shop_figures_of_ours.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shop_figures_of_ours", raising=False)


def test_a_metric_named_by_path_is_measured_like_the_built_in_ones(
    small_shop, small_data: TrainingData, bundle: Bundle
) -> None:
    held_out = hold_out(small_shop.log, cut=small_data.as_of, until=small_shop.end, seed=1)
    rules = EvaluationRules(cutoffs=(5, 20), resamples=100, metrics=("shop_figures_of_ours:HITS",))
    report = evaluate(bundle, small_data, held_out, rules=rules, rng=np.random.default_rng(1))
    for k in (5, 20):
        ours, built_in = f"hits_of_ours_at_{k}", f"recall_at_{k}"
        np.testing.assert_allclose(report.per_person[ours], report.per_person[built_in])
        for baseline in report.baselines.values():
            np.testing.assert_allclose(baseline[ours], baseline[built_in])
    measured = report.metrics()["hits_of_ours_at_20"]
    assert measured["value"] == pytest.approx(report.metrics()["recall_at_20"]["value"])


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("shop_figures_of_ours:MISSING",), "cannot be imported"),
        (("shop_figures_of_ours:NOTHING",), "it is of type int; make it a Metric"),
        (("profit",), "module:attribute"),
        (("shop_figures_of_ours:HITS", "shop_figures_of_ours:AGAIN"), "two metrics have one name"),
        (("shop_figures_of_ours:DEEP",), "add 50 to `cutoffs`"),
    ],
)
def test_a_recipe_with_a_metric_that_cannot_be_used_is_refused(
    names: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        EvaluationRules(metrics=names)


def test_a_metric_that_gives_too_few_values_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match=r"metric short .*one number per query"):
        list(metric_named("shop_figures_of_ours:SHORT").values([["a"], ["b"]], [["a"], ["b"]]))


@pytest.mark.parametrize(
    ("name", "cutoffs"), [("recall", (5,)), ("My profit", (5,)), ("profit", ()), ("profit", (0,))]
)
def test_a_name_or_cutoff_that_cannot_be_one_is_refused(name: str, cutoffs: tuple[int]) -> None:
    with pytest.raises(InvalidInput):
        Metric(name, cutoffs, lambda lists, truth: [])


def test_the_lists_are_cut_at_each_cutoff() -> None:
    lengths = Metric("length", (1, 3), lambda lists, truth: [len(items) for items in lists])
    assert {name: values.tolist() for name, values in lengths.values([["a", "b"]], [["a"]])} == {
        "length_at_1": [1.0],
        "length_at_3": [2.0],
    }


def test_the_built_in_names_are_those_that_evaluate_measures() -> None:
    assert frozenset(MEASURES) == BUILT_IN
