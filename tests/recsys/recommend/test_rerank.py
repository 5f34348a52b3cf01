"""Rules and wishes in a reranked list."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.rules import Boost, Condition, Rule, Rules, Where
from recsys.dataset.training_data import TrainingData
from recsys.query.preferences import Preferences
from recsys.query.query import Listed, Query
from recsys.recommend.operations import ENGINE, Ranking, rerank
from recsys.recommend.rerank import rerank_effects

BY_ENGINE = Placement(name="rerank", blend={"popularity": 0.0}, fallback=())


@pytest.fixture(scope="module")
def live_catalog(bundle: Bundle) -> LiveCatalog:
    return LiveCatalog.of(bundle.catalog)


@pytest.fixture
def page(small_data: TrainingData) -> Query:
    """Somebody without a history on a page of ten items that the engine gave no scores."""
    items = np.arange(10, dtype=np.int32)
    return Query(now=small_data.as_of, listed=Listed(items, np.full(10, np.nan, np.float32)))


def item(bundle: Bundle, *numbers: int) -> Where:
    """The condition that names these items."""
    return Where(any=[Condition(item_id=bundle.items.id(number)) for number in numbers])


def boosted(bundle: Bundle, number: int) -> Boost:
    return Boost(where=item(bundle, number), factor=100.0)


def test_a_boost_of_the_request_or_of_the_person_lifts_what_it_names(
    bundle: Bundle, live_catalog: LiveCatalog, page: Query
) -> None:
    (by_request,) = rerank(
        bundle, [page], BY_ENGINE, live_catalog, rules=Rules(boost=[boosted(bundle, 7)])
    )
    (by_person,) = rerank(
        bundle, [page], BY_ENGINE, live_catalog, personal=[Rule(boost=[boosted(bundle, 4)])]
    )
    assert by_request.order[0] == 7
    assert by_person.order[0] == 4


def test_what_a_rule_excludes_stands_last_and_is_not_lost(
    bundle: Bundle, live_catalog: LiveCatalog, page: Query
) -> None:
    rule = Rule(exclude=item(bundle, 0, 3))
    (ranking,) = rerank(bundle, [page], BY_ENGINE, live_catalog, personal=[rule])
    assert ranking.order.tolist() == [1, 2, 4, 5, 6, 7, 8, 9, 0, 3]
    assert ranking.scores[-2:].tolist() == [-1.0, -1.0]


def test_a_rule_for_a_segment_holds_for_the_rows_of_that_segment_alone(
    bundle: Bundle, live_catalog: LiveCatalog, page: Query
) -> None:
    rule = Rule(boost=[boosted(bundle, 9)], for_=["fans"])
    placement = BY_ENGINE.model_copy(update={"rules": (rule,)})
    fan, other = rerank(bundle, [replace(page, segments=("fans",)), page], placement, live_catalog)
    assert fan.order[0] == 9
    assert other.order.tolist() == list(range(10))


def test_whoever_asked_for_the_shops_order_gets_the_engines(
    bundle: Bundle, live_catalog: LiveCatalog, page: Query
) -> None:
    placement = bundle.placements["rerank"]
    (personal, shops) = rerank(
        bundle,
        [page, replace(page, preferences=Preferences(order="shop"))],
        placement,
        live_catalog,
        rules=Rules(boost=[boosted(bundle, 9)]),
    )
    assert personal.order[0] == 9
    assert shops.order.tolist() == list(range(10))
    assert set(shops.sources) == {ENGINE}


def test_rules_have_no_effect_on_an_item_that_the_bundle_does_not_know(
    bundle: Bundle, live_catalog: LiveCatalog
) -> None:
    listed = np.array([-1, 5, -1], np.int32)
    rules = [Rule(exclude=item(bundle, 5), boost=[boosted(bundle, 5)])]
    effects = rerank_effects(rules, listed, live_catalog)
    assert effects.excluded.tolist() == [False, True, False]
    assert effects.factors.tolist() == [1.0, 100.0, 1.0]


def test_a_batch_is_reranked_as_its_rows_one_by_one(
    bundle: Bundle, live_catalog: LiveCatalog, page: Query, small_data: TrainingData
) -> None:
    listed = Listed(np.array([3, 1, 2], np.int32), np.array([0.1, 0.9, 0.5], np.float32))
    customer = next(
        query
        for query in small_data.queries(small_data.users.ids()[:20], now=small_data.as_of)
        if len(query.history)
    )
    queries = [page, replace(customer, listed=listed), replace(page, listed=listed)]
    placement = bundle.placements["rerank"]
    together = rerank(bundle, queries, placement, live_catalog)
    for query, ranking in zip(queries, together, strict=True):
        (alone,) = rerank(bundle, [query], placement, live_catalog)
        assert _values(alone) == _values(ranking)


def _values(ranking: Ranking) -> tuple[list[int], list[float], tuple[str, ...]]:
    return ranking.order.tolist(), ranking.scores.tolist(), ranking.sources
