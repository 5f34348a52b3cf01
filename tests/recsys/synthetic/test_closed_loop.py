"""The whole circle in a shop that reacts: two versions answer, people click, the report decides."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.dataset.training_data import TrainingData
from recsys.events.log import EventLog, rows
from recsys.events.schema import Event
from recsys.experiments.ab_test import ExperimentReport, ExperimentRules, experiment_report
from recsys.experiments.attribution import Attributed, attribute
from recsys.models.registry import MODELS
from recsys.recommend.operations import recommend
from recsys.store.protocol import LoggedAnswer
from recsys.synthetic.reactions import Impression, react

VISITS = 4
SHARES = {"popular": 0.5, "personal": 0.5}
BLENDS = {"popular": {"popularity": 1.0}, "personal": {"repeat": 0.5, "random_walk": 1.0}}


@pytest.fixture(scope="module")
def bundle(small_data: TrainingData) -> Bundle:
    """Both ways to answer, as two placements of one bundle."""
    names = {name for blend in BLENDS.values() for name in blend}
    return Bundle(
        manifest=Manifest(
            model_version="v1",
            as_of=small_data.as_of,
            window_from=small_data.as_of - timedelta(days=50),
            config_digest="c",
            code_revision="r",
            synthetic=True,
        ),
        items=small_data.items,
        catalog=small_data.catalog,
        models={
            name: MODELS[name].fit(small_data, MODELS[name].config(), rng=np.random.default_rng(0))
            for name in sorted(names)
        },
        placements={
            name: Placement(name=name, blend=blend, fallback=("popularity",))
            for name, blend in BLENDS.items()
        },
        weighting=small_data.weighting,
    )


@pytest.fixture(scope="module")
def attributed(
    bundle: Bundle, small_shop, small_data: TrainingData, tmp_path_factory: pytest.TempPathFactory
) -> Attributed:
    """Every customer is answered some times, each by one of the versions, and reacts."""
    rng = np.random.default_rng(8)
    customers = [key for key in small_data.users if key.startswith("u:")]
    variants = rng.permutation(np.arange(len(customers)) % 2)
    live_catalog = LiveCatalog.of(bundle.catalog)
    answers: list[LoggedAnswer] = []
    events: list[Event] = []
    for key, variant in zip(customers, variants.tolist(), strict=True):
        name = list(SHARES)[variant]
        (query,) = small_data.queries([key], now=small_data.as_of)
        (answer,) = recommend(bundle, [query], bundle.placements[name], live_catalog, 8)
        ids = bundle.items.ids(answer.numbers)
        for visit in range(VISITS):
            when = small_data.as_of + timedelta(hours=float(rng.uniform(1, 9 * 24)))
            id = f"{key}-{visit}"
            answers.append(
                LoggedAnswer(
                    recommendation_id=id,
                    time=when.timestamp(),
                    placement="for_you",
                    variant=name,
                    model_version="v1",
                    item_ids=ids,
                    sources=[item.source for item in answer.items],
                    levels=[item.level for item in answer.items],
                    scores=[item.score for item in answer.items],
                    propensities=[item.propensity for item in answer.items],
                    person=key,
                )
            )
            shown = Impression(key[2:], ids, when, recommendation_id=id, session_id=id)
            events += react(small_shop.shop, shown, rng=rng)
    log = EventLog(tmp_path_factory.mktemp("closed-loop") / "log")
    log.append(rows(events), part="all")
    since = small_data.as_of
    return attribute(log, answers, since=since, until=since + timedelta(days=10))


@pytest.fixture(scope="module")
def report(attributed: Attributed, small_data: TrainingData) -> ExperimentReport:
    since = small_data.as_of
    return experiment_report(
        attributed,
        SHARES,
        since=since,
        until=since + timedelta(days=10),
        rules=ExperimentRules(primary="click_rate", min_days=7, min_persons=50),
    )


def test_personal_lists_are_clicked_more_often_than_popular_ones(report: ExperimentReport) -> None:
    comparison = report.of("personal", "click_rate")
    assert comparison.direction == 1
    assert comparison.lift[0] > 0.05
    assert "personal has a higher click rate than popular" in report.verdict[0]


def test_people_saw_what_they_clicked(attributed: Attributed) -> None:
    assert attributed.clicked.any()
    assert attributed.seen[attributed.clicked].all()


def test_what_was_bought_from_a_list_was_first_put_into_the_cart(attributed: Attributed) -> None:
    assert attributed.bought.any()
    assert attributed.carted[attributed.bought].all()
    assert np.all((attributed.revenue > 0) == attributed.bought)
