"""Intervals that can be trusted: coverage, pairing, and values that do not apply."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.intervals import estimates, paired_differences


def test_the_value_is_the_mean_of_those_to_whom_it_applies() -> None:
    values = np.array([1.0, 2.0, np.nan, 3.0])
    estimate = estimates({"a": values}, rng=np.random.default_rng(1))["a"]
    assert estimate.value == pytest.approx(2.0)
    assert estimate.customers == 3
    assert estimate.low <= 2.0 <= estimate.high


def test_the_interval_is_that_of_the_normal_approximation_for_many_customers() -> None:
    values = np.random.default_rng(2).normal(5.0, 2.0, size=4000)
    estimate = estimates({"a": values}, rng=np.random.default_rng(3), resamples=2000)["a"]
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.1)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(200):
        estimate = estimates({"a": rng.exponential(1.0, size=150)}, rng=rng, resamples=300)["a"]
        held += estimate.low <= 1.0 <= estimate.high
    assert 178 <= held <= 199


def test_pairing_finds_a_small_difference_that_separate_intervals_hide() -> None:
    rng = np.random.default_rng(5)
    theirs = rng.normal(0.0, 1.0, size=500)
    ours = theirs + rng.normal(0.05, 0.05, size=500)
    paired = paired_differences({"a": ours}, {"a": theirs}, rng=rng)["a"]
    apart = estimates({"ours": ours, "theirs": theirs}, rng=rng)
    assert paired.low > 0
    assert apart["ours"].low < apart["theirs"].high


def test_the_same_seed_gives_the_same_interval() -> None:
    table = {"a": np.arange(50.0)}
    first = estimates(table, rng=np.random.default_rng(6))
    two = estimates(table, rng=np.random.default_rng(6))
    assert first == two


def test_a_measure_that_applies_to_nobody_has_no_value() -> None:
    estimate = estimates({"a": np.full(5, np.nan)}, rng=np.random.default_rng(7))["a"]
    assert estimate.customers == 0
    assert np.isnan([estimate.value, estimate.low, estimate.high]).all()
