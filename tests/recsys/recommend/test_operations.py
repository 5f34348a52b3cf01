"""The promises of an answer: no repeats, nothing unsellable, never empty, a source for each."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.dataset.training_data import TrainingData
from recsys.errors import InvalidQuery
from recsys.events.schema import KIND_NUMBER
from recsys.models.registry import MODELS
from recsys.query.history import History
from recsys.query.query import Context, Listed, Query
from recsys.recommend.operations import CATALOG, ENGINE, recommend, rerank


@pytest.fixture(scope="module")
def live_catalog(bundle: Bundle) -> LiveCatalog:
    return LiveCatalog.of(bundle.catalog)


@pytest.fixture(scope="module")
def customers(small_data: TrainingData) -> list[Query]:
    known = [person for person in small_data.users.ids() if person.startswith("u:")]
    return small_data.queries(known[:40], now=small_data.as_of)


def stranger(data: TrainingData, **known: object) -> Query:
    return replace(Query(now=data.as_of), **known)


def looked_at(data: TrainingData, *items: int) -> History:
    return History(
        np.array(items, np.int32),
        np.full(len(items), KIND_NUMBER["view_item"], np.int8),
        data.as_of.timestamp() - np.arange(len(items), dtype=np.float64)[::-1],
        np.ones(len(items), np.float32),
    )


@pytest.mark.parametrize("name", ["for_you", "similar", "bought_together", "trending"])
def test_every_answer_is_full_distinct_and_sellable(
    bundle: Bundle,
    live_catalog: LiveCatalog,
    customers: list[Query],
    small_data: TrainingData,
    name: str,
) -> None:
    eligible = live_catalog.eligible(small_data.as_of)
    asking = [replace(query, seeds=np.array([3], np.int32)) for query in customers]
    for answer in recommend(bundle, asking, bundle.placements[name], live_catalog, 12):
        numbers = answer.numbers
        assert len(numbers) == 12
        assert len(set(numbers.tolist())) == 12
        assert eligible[numbers].all()
        assert 3 not in numbers
        assert answer.level is not None
        assert all(item.source in MODELS or item.source == CATALOG for item in answer.items)


def test_a_batch_gives_what_its_single_queries_give(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query]
) -> None:
    placement = bundle.placements["for_you"]
    together = recommend(bundle, customers, placement, live_catalog, 10)
    for query, answer in zip(customers, together, strict=True):
        (alone,) = recommend(bundle, [query], placement, live_catalog, 10)
        assert alone.numbers.tolist() == answer.numbers.tolist()
        np.testing.assert_allclose(
            [item.score for item in alone.items], [item.score for item in answer.items], rtol=1e-4
        )


def test_a_stranger_gets_an_answer_and_it_says_so(
    bundle: Bundle, live_catalog: LiveCatalog, small_data: TrainingData
) -> None:
    (answer,) = recommend(
        bundle, [stranger(small_data)], bundle.placements["for_you"], live_catalog, 10
    )
    assert len(answer.items) == 10
    assert answer.level == "everybody"


def test_a_click_changes_a_strangers_answer_and_its_level(
    bundle: Bundle, live_catalog: LiveCatalog, small_data: TrainingData
) -> None:
    placement = bundle.placements["for_you"]
    (before,) = recommend(bundle, [stranger(small_data)], placement, live_catalog, 10)
    clicked = stranger(small_data, history=looked_at(small_data, 7, 8))
    (after,) = recommend(bundle, [clicked], placement, live_catalog, 10)
    assert after.numbers.tolist() != before.numbers.tolist()
    assert after.level == "session"


def test_a_country_gives_the_segment_level_where_no_more_is_known(
    bundle: Bundle, live_catalog: LiveCatalog, small_data: TrainingData
) -> None:
    country = small_data.popularity.country_names.id(0)
    placement = Placement(name="mine", blend={"als": 1.0})
    asking = stranger(small_data, context=Context(country=country))
    (answer,) = recommend(bundle, [asking], placement, live_catalog, 5)
    assert answer.level == "segment"


def test_what_is_sold_out_is_gone(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query]
) -> None:
    placement = bundle.placements["for_you"]
    (before,) = recommend(bundle, customers[:1], placement, live_catalog, 5)
    first = bundle.catalog.items[before.items[0].number]
    emptied = live_catalog.with_changes([msgspec.structs.replace(first, stock=0.0)], revision=1)
    (after,) = recommend(bundle, customers[:1], placement, emptied, 5)
    assert before.items[0].number not in after.numbers
    assert len(after.items) == 5


def test_an_item_outside_its_dates_is_gone(bundle: Bundle, live_catalog: LiveCatalog) -> None:
    item = bundle.catalog.items[0]
    now = bundle.manifest.as_of
    changed = live_catalog.with_changes(
        [msgspec.structs.replace(item, available_from=None, available_until=now)], revision=1
    )
    assert not changed.eligible(now)[0]
    assert changed.eligible(now - timedelta(seconds=1))[0]


def test_excluded_items_never_appear(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query]
) -> None:
    placement = bundle.placements["for_you"]
    (before,) = recommend(bundle, customers[:1], placement, live_catalog, 10)
    (after,) = recommend(
        bundle, customers[:1], placement, live_catalog, 10, exclude=[before.numbers]
    )
    assert not set(before.numbers.tolist()) & set(after.numbers.tolist())
    assert len(after.items) == 10


def test_a_placement_can_keep_the_history_out(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query]
) -> None:
    placement = bundle.placements["for_you"].model_copy(update={"repeats": "exclude_history"})
    for query, answer in zip(
        customers, recommend(bundle, customers, placement, live_catalog, 10), strict=True
    ):
        assert not set(query.history.items.tolist()) & set(answer.numbers.tolist())


def test_an_answer_is_empty_only_when_nothing_sellable_is_left(
    bundle: Bundle, live_catalog: LiveCatalog, small_data: TrainingData
) -> None:
    n_items = len(small_data.items)
    everything = np.arange(n_items, dtype=np.int32)
    placement = bundle.placements["for_you"]
    asking = [stranger(small_data)]
    (nothing,) = recommend(bundle, asking, placement, live_catalog, 5, exclude=[everything])
    assert nothing.items == ()
    (last,) = recommend(bundle, asking, placement, live_catalog, 5, exclude=[everything[1:]])
    expected = [0] if live_catalog.eligible(small_data.as_of)[0] else []
    assert last.numbers.tolist() == expected


def test_recently_viewed_is_the_own_looks_newest_first(
    bundle: Bundle, live_catalog: LiveCatalog, small_data: TrainingData
) -> None:
    open_items = np.flatnonzero(live_catalog.eligible(small_data.as_of))[:3].tolist()
    asking = stranger(small_data, history=looked_at(small_data, *open_items, open_items[0]))
    (answer,) = recommend(bundle, [asking], bundle.placements["recently_viewed"], live_catalog, 5)
    assert answer.numbers.tolist() == [open_items[0], open_items[2], open_items[1]]


def test_bought_together_of_a_cart_comes_from_baskets(
    bundle: Bundle, live_catalog: LiveCatalog, small_data: TrainingData
) -> None:
    bought = np.argsort(-np.asarray(small_data.baskets.matrix.sum(axis=0)).ravel())[:2]
    asking = stranger(small_data, seeds=bought.astype(np.int32))
    (answer,) = recommend(
        bundle, [asking], bundle.placements["bought_together"], live_catalog, 5, explain=True
    )
    assert answer.items[0].source == "bought_together"
    assert answer.level == "page"
    assert {c.item for c in answer.items[0].why} <= set(bought.tolist())


def test_an_explained_answer_names_what_the_person_did(
    bundle: Bundle, live_catalog: LiveCatalog, small_data: TrainingData
) -> None:
    asking = stranger(small_data, history=looked_at(small_data, 7, 8))
    (answer,) = recommend(
        bundle, [asking], bundle.placements["for_you"], live_catalog, 3, explain=True
    )
    named = {c.item for item in answer.items for c in item.why if c.kind == "history"}
    assert named
    assert named <= {7, 8}


def test_a_reranked_list_keeps_every_item(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query]
) -> None:
    items = np.array([5, -1, 9, 3, -1, 20], np.int32)
    listed = Listed(items, np.full(len(items), np.nan, np.float32))
    asked = [replace(customers[0], listed=listed)]
    (ranking,) = rerank(bundle, asked, bundle.placements["rerank"], live_catalog)
    assert sorted(ranking.order.tolist()) == [0, 1, 2, 3, 4, 5]
    assert len(ranking.sources) == 6
    assert (np.diff(ranking.scores) <= 0).all()


def test_without_opinions_the_engines_order_stands(
    bundle: Bundle, live_catalog: LiveCatalog, small_data: TrainingData
) -> None:
    listed = Listed(np.full(4, -1, np.int32), np.array([1.0, 4.0, 3.0, 2.0], np.float32))
    (ranking,) = rerank(
        bundle, [stranger(small_data, listed=listed)], bundle.placements["rerank"], live_catalog
    )
    assert ranking.order.tolist() == [1, 2, 3, 0]
    assert set(ranking.sources) == {ENGINE}


def test_what_a_person_bought_rises_in_a_reranked_list(
    bundle: Bundle, live_catalog: LiveCatalog, small_data: TrainingData
) -> None:
    items = np.arange(20, dtype=np.int32)
    listed = Listed(items, np.full(20, np.nan, np.float32))
    liking = History(
        np.array([15, 15], np.int32),
        np.full(2, KIND_NUMBER["purchase"], np.int8),
        np.array([-9e5, -1e5]) + small_data.as_of.timestamp(),
        np.full(2, 5.0, np.float32),
    )
    (without, with_history) = rerank(
        bundle,
        [
            stranger(small_data, listed=listed),
            stranger(small_data, listed=listed, history=liking),
        ],
        bundle.placements["rerank"],
        live_catalog,
    )
    assert with_history.order.tolist().index(15) < without.order.tolist().index(15)


def test_what_was_refused_is_never_recommended_and_last_in_a_list(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query]
) -> None:
    placement = bundle.placements["for_you"]
    (before,) = recommend(bundle, customers[:1], placement, live_catalog, 10)
    no = before.numbers[:2]
    listed = Listed(before.numbers, np.full(10, np.nan, np.float32))
    refusing = replace(customers[0], refused=no, listed=listed)
    (after,) = recommend(bundle, [refusing], placement, live_catalog, 10)
    assert not set(no.tolist()) & set(after.numbers.tolist())
    (ranking,) = rerank(bundle, [refusing], bundle.placements["rerank"], live_catalog)
    assert set(ranking.order[-2:].tolist()) == {0, 1}


def test_asking_for_nothing_is_an_error(
    bundle: Bundle, live_catalog: LiveCatalog, small_data: TrainingData
) -> None:
    with pytest.raises(InvalidQuery, match="at least 1"):
        recommend(bundle, [stranger(small_data)], bundle.placements["for_you"], live_catalog, 0)


def test_a_placement_of_a_model_that_is_not_there_is_an_error(
    bundle: Bundle, live_catalog: LiveCatalog, small_data: TrainingData
) -> None:
    lacking = replace(bundle, models={})
    with pytest.raises(InvalidQuery, match="has no model"):
        recommend(lacking, [stranger(small_data)], bundle.placements["for_you"], live_catalog, 5)
