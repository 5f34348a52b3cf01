"""The gate lets better candidates through, and says why it stops the others."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from recsys.evaluation.intervals import estimates
from recsys.evaluation.report import Report
from training.config import GateRules
from training.pipeline.gate import Change, decide

CUT = datetime(2026, 3, 1, tzinfo=UTC)
UNTIL = datetime(2026, 4, 1, tzinfo=UTC)
RULES = GateRules()


def report(shift: float, *, baseline: float = 0.2, new_items: float = 0.1, n: int = 400) -> Report:
    """A report whose NDCG is `baseline` + `shift` on average, on customers who vary alike."""
    rng = np.random.default_rng(1)
    customers = rng.uniform(-0.1, 0.1, size=n)
    noise = np.random.default_rng(int(1e6 * (shift + 1))).normal(0, 0.01, size=n)
    per_person = {
        "ndcg_at_20": baseline + shift + customers + noise,
        "recall_at_20": baseline + shift + customers + noise,
        "new_items/recall_at_20": new_items + customers + noise,
    }
    flat = dict.fromkeys(per_person, baseline + customers)
    baselines = dict.fromkeys(RULES.baselines, flat)
    return Report(
        cut=CUT,
        until=UNTIL,
        per_person=per_person,
        baselines=baselines,
        estimates=estimates(per_person, rng=rng, resamples=200),
        baseline_estimates={
            name: estimates(measured, rng=rng, resamples=200)
            for name, measured in baselines.items()
        },
        overall={},
    )


def decision(candidate: Report, champion: Report | None, *, change: Change = "automatic"):
    return decide(candidate, champion, RULES, change=change, rng=np.random.default_rng(2))


def test_a_first_version_above_the_baselines_is_promoted() -> None:
    assert decision(report(0.05), None).promote


def test_a_first_version_below_a_baseline_is_refused_with_the_figures() -> None:
    refused = decision(report(-0.05), None)
    assert not refused.promote
    assert "Below the baseline" in refused.reasons[0]
    assert "interval" in refused.reasons[0]


def test_an_automatic_recipe_that_is_better_is_promoted() -> None:
    assert decision(report(0.08), report(0.05)).promote


def test_an_automatic_recipe_that_is_only_as_good_is_refused() -> None:
    refused = decision(report(0.0501), report(0.05))
    assert not refused.promote
    assert "Not measurably better than the champion" in refused.reasons[0]


def test_a_requested_recipe_that_is_as_good_is_admitted_and_the_reason_says_so() -> None:
    admitted = decision(report(0.0501), report(0.05), change="requested")
    assert admitted.promote
    assert any("admitted since it was asked for" in reason for reason in admitted.reasons)


def test_a_requested_recipe_without_any_difference_is_admitted() -> None:
    champion = report(0.05)
    assert decision(champion, champion, change="requested").promote


def test_a_requested_recipe_that_may_be_worse_than_the_margin_is_refused_but_sound() -> None:
    rules = RULES.model_copy(update={"margin": 0.0})
    refused = decide(
        report(0.0501),
        report(0.05),
        rules,
        change="requested",
        rng=np.random.default_rng(2),
    )
    assert not refused.promote
    assert refused.sound
    assert "may be worse than the champion" in refused.reasons[0]


def test_a_clearly_worse_candidate_is_not_sound() -> None:
    assert not decision(report(0.02), report(0.05), change="requested").sound
    assert not decision(report(-0.05), None).sound


def test_a_candidate_that_cannot_serve_is_not_sound() -> None:
    refused = decision(report(0.08), report(0.05)).refused("its placement 'similar' is empty")
    assert not refused.promote
    assert not refused.sound
    assert refused.reasons[0] == "its placement 'similar' is empty"


def test_the_same_recipe_needs_only_not_be_worse() -> None:
    assert decision(report(0.0501), report(0.05), change="none").promote


def test_the_same_recipe_that_fell_is_refused() -> None:
    assert not decision(report(0.03), report(0.05), change="none").promote


def test_a_first_version_that_is_not_proven_better_serves_rather_than_nothing() -> None:
    first = decision(report(0.0004, n=40), None)
    assert first.promote
    assert any("not proven better" in reason for reason in first.reasons)


def test_an_automatic_recipe_must_be_proven_better_than_the_baselines() -> None:
    refused = decision(report(0.0004, n=40), report(-0.05, n=40))
    assert not refused.promote
    assert "not proven better" in refused.reasons[0]


def test_the_same_recipe_need_not_prove_itself_against_the_baselines_every_night() -> None:
    champion = report(0.0004, n=40)
    assert decision(champion, champion, change="none").promote


def test_the_same_recipe_below_a_baseline_is_refused() -> None:
    champion = report(-0.02)
    assert not decision(champion, champion, change="none").promote


def test_a_gain_that_costs_the_new_items_is_refused() -> None:
    refused = decision(report(0.08, new_items=0.05), report(0.05, new_items=0.1))
    assert not refused.promote
    assert "Guard new_items/recall_at_20 fell" in refused.reasons[0]


def test_better_than_the_champion_is_not_enough_below_the_baselines() -> None:
    assert not decision(report(-0.02), report(-0.05)).promote


def test_reports_of_different_customers_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different periods or persons"):
        decision(report(0.05), report(0.04, n=300))
