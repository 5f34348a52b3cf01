"""A report on an experiment sees a true lift, none where there is none, and a broken split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from recsys.evaluation.intervals import ratio
from recsys.events.log import EventLog, rows
from recsys.events.schema import Event
from recsys.experiments.ab_test import (
    MEASURES,
    ExperimentReport,
    ExperimentRules,
    experiment_report,
    sample_ratio,
)
from recsys.experiments.attribution import Attributed, attribute
from recsys.experiments.result import result_of
from recsys.store.protocol import LoggedAnswer
from recsys.synthetic import ShopConfig, SyntheticShop, make_shop
from recsys.synthetic.reactions import Impression, react

CUSTOMERS = 1200
DAYS = 14
SHARES = {"champion": 0.5, "challenger": 0.5}


@pytest.fixture(scope="module")
def shop() -> SyntheticShop:
    config = ShopConfig(customers=CUSTOMERS, items=150, refusal_share=0.0)
    return make_shop(config, rng=np.random.default_rng(3))


def start_of(shop: SyntheticShop) -> datetime:
    return shop.config.opening + timedelta(days=30)


def react_to(
    shop: SyntheticShop, quality: Sequence[float], folder: Path, *, seed: int
) -> Attributed:
    """Every customer is shown one to three lists, by the variant of an even or odd number, and does
    with them what such people do. A list holds the person's own likeliest items with the chance
    `quality[variant]` each, else any item."""
    rng = np.random.default_rng(seed)
    answers: list[LoggedAnswer] = []
    events: list[Event] = []
    names = list(SHARES)
    for number in range(CUSTOMERS):
        person, variant = f"c-{number:04d}", number % 2
        chances = shop.purchase_probabilities(person, start_of(shop))
        best = np.argsort(-chances)
        for visit in range(int(rng.integers(1, 4))):
            when = start_of(shop) + timedelta(days=float(rng.uniform(0, DAYS - 1)))
            liked = rng.random(8) < quality[variant]
            items = np.where(liked, best[:8], rng.choice(len(best), 8, replace=False))
            ids = [shop.items[item].item_id for item in dict.fromkeys(items.tolist())]
            recommendation_id = f"r-{number}-{visit}"
            answers.append(
                LoggedAnswer(
                    recommendation_id=recommendation_id,
                    time=when.timestamp(),
                    placement="for_you",
                    variant=names[variant],
                    model_version=f"v{variant}",
                    item_ids=ids,
                    sources=["als"] * len(ids),
                    levels=["individual"] * len(ids),
                    scores=[1.0] * len(ids),
                    propensities=[1.0] * len(ids),
                    person=f"u:{person}",
                )
            )
            shown = Impression(
                person, ids, when, recommendation_id=recommendation_id, session_id=recommendation_id
            )
            events += react(shop, shown, rng=rng)
    log = EventLog(folder / "log")
    log.append(rows(events), part="all")
    since = start_of(shop)
    return attribute(log, answers, since=since, until=since + timedelta(days=DAYS + 1))


def report_of(
    attributed: Attributed, shop: SyntheticShop, *, rules: ExperimentRules | None = None
) -> ExperimentReport:
    since = start_of(shop)
    return experiment_report(
        attributed, SHARES, since=since, until=since + timedelta(days=DAYS), rules=rules
    )


@pytest.fixture(scope="module")
def alike(shop: SyntheticShop, tmp_path_factory: pytest.TempPathFactory) -> Attributed:
    """Both variants show equally good lists."""
    return react_to(shop, (0.3, 0.3), tmp_path_factory.mktemp("alike"), seed=5)


@pytest.fixture(scope="module")
def better(shop: SyntheticShop, tmp_path_factory: pytest.TempPathFactory) -> Attributed:
    """The challenger's lists are better."""
    return react_to(shop, (0.1, 0.6), tmp_path_factory.mktemp("better"), seed=6)


def test_between_equals_the_interval_covers_zero_in_about_95_percent_of_the_tests(
    alike: Attributed, shop: SyntheticShop
) -> None:
    rng = np.random.default_rng(0)
    runs = 300
    covered = dict.fromkeys(MEASURES, 0)
    for _ in range(runs):
        assigned = rng.integers(0, 2, alike.persons.max() + 1).astype(np.int32)
        drawn = replace(alike, variants=assigned[alike.persons])
        for comparison in report_of(drawn, shop).comparisons:
            covered[comparison.measure] += comparison.direction == 0
    # Within four standard errors of 95 % of 300 draws.
    for measure, times in covered.items():
        assert 0.90 <= times / runs <= 0.999, (measure, times / runs)


def test_a_true_lift_is_found_and_said(better: Attributed, shop: SyntheticShop) -> None:
    report = report_of(better, shop, rules=ExperimentRules(primary="click_rate"))
    comparison = report.of("challenger", "click_rate")
    assert comparison.direction == 1
    assert comparison.lift[1] > 0.2
    assert report.of("challenger", "attributed_revenue").direction == 1
    assert any("challenger has a higher click rate" in sentence for sentence in report.verdict)


def test_no_difference_is_said_to_be_none_and_how_many_persons_it_would_take(
    alike: Attributed, shop: SyntheticShop
) -> None:
    report = report_of(alike, shop)
    assert abs(report.of("challenger", "conversion").difference[0]) < 0.1
    text = " ".join(report.verdict)
    assert "No difference in conversion is proven" in text
    assert "persons per variant" in text


def test_a_broken_split_is_seen_and_nothing_else_is_said(
    better: Attributed, shop: SyntheticShop
) -> None:
    rng = np.random.default_rng(1)
    lost = np.flatnonzero(rng.random(better.persons.max() + 1) < 0.3)
    challengers = better.variants == better.variant_names.number("challenger")
    gone = challengers & np.isin(better.persons, lost)
    fewer = replace(better, persons=np.where(gone, -1, better.persons).astype(np.int32))
    report = report_of(fewer, shop)
    assert report.split_p < 0.001
    (text,) = report.verdict
    assert "The split is broken" in text
    assert report_of(better, shop).split_p > 0.001


def test_who_was_answered_by_both_variants_is_left_out_and_counted(
    alike: Attributed, shop: SyntheticShop
) -> None:
    assert report_of(alike, shop).persons_in_several_variants == 0
    variants = alike.variants.copy()
    twice = int(np.flatnonzero(np.bincount(alike.persons) > 1)[0])
    first = int(np.flatnonzero(alike.persons == twice)[0])
    variants[first] = 1 - variants[first]
    report = report_of(replace(alike, variants=variants), shop)
    assert report.persons_in_several_variants == 1
    assert sum(variant.persons for variant in report.variants) == CUSTOMERS - 1


def test_answers_without_consent_are_nobodys(alike: Attributed, shop: SyntheticShop) -> None:
    persons = alike.persons.copy()
    persons[:10] = -1
    assert report_of(replace(alike, persons=persons), shop).answers_without_person == 10


def test_it_is_too_early_before_the_days_and_the_persons_that_were_set(
    alike: Attributed, shop: SyntheticShop
) -> None:
    many = report_of(alike, shop, rules=ExperimentRules(min_persons=CUSTOMERS))
    assert len(many.verdict) == 1
    assert "Too early" in many.verdict[0]
    long = report_of(alike, shop, rules=ExperimentRules(min_days=28))
    assert "14.0 of 28 days" in long.verdict[0]
    assert len(long.verdict) > 1


def test_orders_before_the_first_answer_are_not_its_merit(
    alike: Attributed, shop: SyntheticShop
) -> None:
    early = replace(alike.orders, times=np.zeros_like(alike.orders.times))
    report = report_of(replace(alike, orders=early), shop)
    assert all(variant.measures["revenue_per_visitor"].value == 0 for variant in report.variants)


def test_the_versions_that_served_a_variant_are_named(
    alike: Attributed, shop: SyntheticShop
) -> None:
    report = report_of(alike, shop)
    assert [variant.versions for variant in report.variants] == [("v0",), ("v1",)]


def test_the_report_as_json_names_no_person(alike: Attributed, shop: SyntheticShop) -> None:
    text = msgspec.json.encode(result_of(report_of(alike, shop), experiment="autumn")).decode()
    assert "c-0" not in text
    assert "NaN" not in text
    assert '"measure":"conversion"' in text


def test_one_variant_alone_is_no_experiment(alike: Attributed, shop: SyntheticShop) -> None:
    since = start_of(shop)
    report = experiment_report(
        alike, {"champion": 1.0}, since=since, until=since + timedelta(days=DAYS)
    )
    assert report.comparisons == ()
    assert np.isnan(report.split_p)
    assert "nothing to compare" in report.verdict[0]


def test_the_sample_ratio_check_knows_its_shares() -> None:
    assert sample_ratio([900, 100], [0.9, 0.1]) == pytest.approx(1.0)
    assert sample_ratio([850, 150], [0.9, 0.1]) < 1e-6
    assert sample_ratio([500, 500], [1, 1]) == pytest.approx(1.0)
    assert np.isnan(sample_ratio([500], [1.0]))


def test_a_ratio_counts_a_customer_once_however_often_they_came() -> None:
    # The same person a hundred times is one observation: the interval must not shrink.
    rng = np.random.default_rng(0)
    clicks, lists = rng.integers(0, 3, 200).astype(float), np.full(200, 4.0)
    once, often = ratio(clicks, lists), ratio(clicks * 100, lists * 100)
    assert once.value == pytest.approx(often.value)
    assert once.error == pytest.approx(often.error)
    mean = ratio(clicks)
    assert mean.error == pytest.approx(clicks.std(ddof=1) / np.sqrt(200))
