"""Weights of a reordered list: found again in simulated choices, kept where too little is known."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.dataset.training_data import TrainingData
from recsys.events.log import EventLog
from recsys.ids import NONE
from recsys.query.query import Listed, Query
from recsys.recommend.operations import rerank
from recsys.recommend.rerank_scores import ENGINE
from recsys.synthetic import SyntheticShop
from training.config import BlendSearch, Recipe
from training.fitting.rerank_weights import EVERYBODY, JudgedList, conditional_logit, learnt_weights
from training.fitting.source import TrainingSource
from training.fitting.trial import TimeSplits, learn_list_weights
from training.run_context import Provenance, RunContext


class SmallShop(Protocol):
    """What the fixture of that name gives."""

    shop: SyntheticShop
    log: EventLog
    end: datetime


def choices(
    weights: list[float], *, lists: int, examined: np.ndarray, seed: int = 2
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Lists of 8 items with random parts; one is taken by the logit under these weights."""
    rng = np.random.default_rng(seed)
    parts, gains = [], []
    for _ in range(lists):
        part = rng.random((len(weights), 8)).astype(np.float32)
        chances = examined * np.exp(np.array(weights) @ part)
        taken = rng.choice(8, p=chances / chances.sum())
        parts.append(part)
        gains.append((np.arange(8) == taken).astype(np.float64))
    return parts, gains


def test_the_weights_of_simulated_choices_are_found_again() -> None:
    examined = (1.0 + np.arange(8)) ** -0.7
    parts, gains = choices([2.0, 0.0, 1.0], lists=8000, examined=examined)
    weights = conditional_logit(parts, gains, [np.log(examined)] * len(parts), reg=0.0)
    assert weights == pytest.approx([2.0, 0.0, 1.0], abs=0.15)


def test_a_source_that_speaks_against_what_is_taken_gets_no_weight() -> None:
    parts, gains = choices([-2.0, 1.0], lists=2000, examined=np.ones(8))
    weights = conditional_logit(parts, gains, [np.zeros(8)] * len(parts), reg=0.0)
    assert weights[0] == 0.0


def test_few_lists_change_nothing(bundle: Bundle) -> None:
    placement = bundle.placements["rerank"]
    query = Query(now=bundle.manifest.as_of, listed=Listed(NONE, np.empty(0, np.float32)))
    judged = [JudgedList(query, np.array([1.0, 0.0]), np.ones(2))] * 10
    assert learnt_weights(bundle, placement, judged) is placement


def test_what_is_taken_against_the_engine_lowers_the_engine(
    bundle: Bundle, small_data: TrainingData
) -> None:
    """The last of each list is taken: popularity and engine lose to whoever spoke for it."""
    rng = np.random.default_rng(1)
    placement = Placement(name="rerank", blend={"popularity": 0.5, "repeat": 0.5}, fallback=())
    popular = bundle.models["popularity"]
    judged = []
    for _ in range(80):
        items = rng.choice(len(small_data.items), 6, replace=False).astype(np.int32)
        query = Query(now=small_data.as_of, listed=Listed(items, np.full(6, np.nan, np.float32)))
        scores = np.nan_to_num(popular.condition([query]).score([items])[0])
        judged.append(JudgedList(query, (scores == scores.max()) * 1.0, np.ones(6)))
    learnt = learnt_weights(bundle, placement, judged)
    assert learnt.blend["popularity"] > 5 * learnt.engine_weight
    assert set(learnt.stranger_blend) == {ENGINE, "popularity"} <= {ENGINE, *EVERYBODY}
    live_catalog = LiveCatalog.of(bundle.catalog)
    rankings = rerank(bundle, [labelled.query for labelled in judged], learnt, live_catalog)
    firsts = [
        labelled.gains[ranking.order[0]] for labelled, ranking in zip(judged, rankings, strict=True)
    ]
    assert np.mean(firsts) > 0.9


def test_a_stranger_gets_the_weights_for_strangers(
    bundle: Bundle, small_data: TrainingData
) -> None:
    placement = Placement(
        name="rerank",
        engine_weight=0.0,
        blend={"popularity": 1.0},
        stranger_blend={ENGINE: 1.0},
        fallback=(),
    )
    listed = Listed(np.arange(12, dtype=np.int32), np.full(12, np.nan, np.float32))
    persons = [person for person in small_data.users.ids() if person.startswith("u:")]
    customers = small_data.queries(persons, now=small_data.as_of)
    known = next(query for query in customers if len(query.history))
    stranger = Query(now=small_data.as_of, listed=listed)
    customer = Query(now=small_data.as_of, history=known.history, listed=listed)
    live_catalog = LiveCatalog.of(bundle.catalog)
    for_stranger, for_customer = rerank(bundle, [stranger, customer], placement, live_catalog)
    assert for_stranger.order.tolist() == list(range(12))
    assert for_customer.order.tolist() != list(range(12))


def test_a_trial_learns_reranking_from_the_searches_before_its_test(
    small_shop: SmallShop,
) -> None:
    source = TrainingSource(
        log=small_shop.log,
        items=small_shop.shop.items,
        profiles={},
        denied=frozenset(),
        oldest=small_shop.end - timedelta(days=60),
        newest=small_shop.end,
        events=0,
        fingerprint="",
    )
    rerank_alone = Placement(
        name="rerank", blend={"search_clicks": 0.5, "popularity": 0.5}, fallback=()
    )
    recipe = Recipe(models={"search_clicks": {}, "popularity": {}}, placements=(rerank_alone,))
    test = small_shop.end - timedelta(days=10)
    time_splits = TimeSplits((test - timedelta(days=20),), test, small_shop.end)
    context = RunContext(Provenance("v", "", ""))
    (learnt,) = learn_list_weights(source, time_splits, recipe, recipe.placements, context=context)
    assert learnt.blend["search_clicks"] > 0
    assert learnt.blend != rerank_alone.blend
    unwanted = recipe.model_copy(update={"blend_search": BlendSearch(lists=False)})
    (kept,) = learn_list_weights(source, time_splits, unwanted, recipe.placements, context=context)
    assert kept == rerank_alone
