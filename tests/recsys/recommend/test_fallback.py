"""Rules in lists: what always holds, what gives way, and where the missing items come from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Fatigue, Placement
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.items import category_path
from recsys.catalog.rules import Rules, parse_rules
from recsys.dataset.training_data import TrainingData
from recsys.query.history import UnclickedImpressions
from recsys.query.query import Query
from recsys.recommend.operations import CATALOG, PINNED, Answer, recommend
from recsys.recommend.rule_engine import compile_rules


@pytest.fixture(scope="module")
def live_catalog(bundle: Bundle) -> LiveCatalog:
    return LiveCatalog.of(bundle.catalog)


@pytest.fixture(scope="module")
def customers(small_data: TrainingData) -> list[Query]:
    known = [person for person in small_data.users.ids() if person.startswith("u:")]
    return small_data.queries(known[:25], now=small_data.as_of)


@pytest.fixture(scope="module")
def placement(bundle: Bundle) -> Placement:
    """Where the own history comes back, so that every item may be shown."""
    return bundle.placements["for_you"].model_copy(update={"repeats": "allow"})


def rules(**fields: Any) -> Rules:
    return msgspec.convert(fields, Rules)


def paths(bundle: Bundle, answer: Answer) -> list[str]:
    return [category_path(bundle.catalog.items[number]) for number in answer.numbers.tolist()]


def brands(bundle: Bundle, answer: Answer) -> list[str]:
    return [bundle.catalog.items[number].brand or "" for number in answer.numbers.tolist()]


def test_a_narrow_filter_is_filled_to_its_last_item_and_nothing_else(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query], placement: Placement
) -> None:
    garden = rules(filter={"category": "Garden", "price": {"max": 30}})
    passes = live_catalog.columns.mask(garden.filter) & live_catalog.eligible(customers[0].now)
    assert 10 < passes.sum() < 60
    for answer in recommend(bundle, customers, placement, live_catalog, 100, rules=garden):
        assert sorted(answer.numbers.tolist()) == np.flatnonzero(passes).tolist()


def test_within_a_filter_the_order_stays_personal(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query], placement: Placement
) -> None:
    garden = rules(filter={"category": "Garden"})
    answers = recommend(bundle, customers, placement, live_catalog, 5, rules=garden)
    assert len({tuple(answer.numbers.tolist()) for answer in answers}) > len(customers) / 2
    assert {answer.level for answer in answers} == {"individual"}


def test_a_batch_under_rules_gives_what_its_single_queries_give(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query], placement: Placement
) -> None:
    many = rules(
        filter={"price": {"max": 60}},
        boost=[{"where": {"category": "Garden"}, "factor": 3}],
        quota=[{"where": {"category": "Toys"}, "at_least": 2}],
        diversity=[{"per": "brand", "at_most": 2}],
    )
    together = recommend(bundle, customers, placement, live_catalog, 10, rules=many)
    alone = [
        recommend(bundle, [query], placement, live_catalog, 10, rules=many)[0]
        for query in customers
    ]
    assert [each.numbers.tolist() for each in together] == [each.numbers.tolist() for each in alone]


def test_a_boost_moves_what_it_means_up(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query], placement: Placement
) -> None:
    def share(**given: Any) -> float:
        answers = recommend(bundle, customers, placement, live_catalog, 10, rules=rules(**given))
        return float(
            np.mean([path.startswith("Garden") for a in answers for path in paths(bundle, a)])
        )

    garden = {"category": "Garden"}
    plain = share()
    assert share(boost=[{"where": garden, "factor": 5}]) > plain
    assert share(boost=[{"where": garden, "factor": 0.01}]) < plain


def test_diversity_is_kept_by_the_fallbacks_too(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query], placement: Placement
) -> None:
    one_each = rules(diversity=[{"per": "brand", "at_most": 1}])
    few = placement.model_copy(update={"candidates": 5})
    n_brands = len(set(bundle.catalog.brand_names))
    for answer in recommend(bundle, customers, few, live_catalog, n_brands - 2, rules=one_each):
        present = brands(bundle, answer)
        assert len(present) == len(set(present)) == n_brands - 2


def test_diversity_gives_way_before_a_list_gets_short(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query], placement: Placement
) -> None:
    one_each = rules(
        filter={"category": "Garden"}, diversity=[{"per": "category", "depth": 1, "at_most": 1}]
    )
    for answer in recommend(bundle, customers, placement, live_catalog, 12, rules=one_each):
        assert len(answer.items) == 12


def test_a_quota_is_met_from_beyond_the_candidates(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query], placement: Placement
) -> None:
    rare = {"category": "Toys > Puzzles"}
    few = placement.model_copy(update={"candidates": 3})
    asked = rules(quota=[{"where": rare, "at_least": 3}])
    for answer in recommend(bundle, customers, few, live_catalog, 8, rules=asked):
        assert len(answer.items) == 8
        assert paths(bundle, answer).count("Toys > Puzzles") >= 3


def test_a_pinned_item_says_that_it_is_pinned_and_is_never_one_that_is_barred(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query], placement: Placement
) -> None:
    pin = rules(pin=[{"item_id": bundle.items.id(7), "position": 1}])
    for answer in recommend(bundle, customers, placement, live_catalog, 5, rules=pin):
        assert answer.items[1].number == 7
        assert answer.items[1].source == PINNED
        assert len(set(answer.numbers.tolist())) == 5
    refusing = replace(customers[0], refused=np.array([7], np.int32))
    (answer,) = recommend(bundle, [refusing], placement, live_catalog, 5, rules=pin)
    assert 7 not in answer.numbers
    sold_out = msgspec.structs.replace(bundle.catalog.items[7], stock=0.0)
    emptied = live_catalog.with_changes([sold_out], revision=1)
    (answer,) = recommend(bundle, customers[:1], placement, emptied, 5, rules=pin)
    assert 7 not in answer.numbers


def test_variants_are_shown_once_and_not_beside_their_own_page(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query], placement: Placement
) -> None:
    (first, *_) = recommend(bundle, customers[:1], placement, live_catalog, 10)
    family = first.numbers[:3].tolist()
    same = [
        msgspec.structs.replace(bundle.catalog.items[number], variant_of="the-product")
        for number in family
    ]
    grouped = live_catalog.with_changes(same, revision=1)
    (answer,) = recommend(bundle, customers[:1], placement, grouped, 10)
    assert answer.numbers[0] == family[0]
    assert set(family) & set(answer.numbers.tolist()) == {family[0]}
    assert len(answer.items) == 10
    on_page = replace(customers[0], seeds=np.array(family[1:2], np.int32))
    (answer,) = recommend(bundle, [on_page], placement, grouped, 10)
    assert not set(family) & set(answer.numbers.tolist())


def test_other_content_is_kept_out_unless_its_kind_is_asked_for(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query], placement: Placement
) -> None:
    (before,) = recommend(bundle, customers[:1], placement, live_catalog, 10)
    article = msgspec.structs.replace(bundle.catalog.items[int(before.numbers[0])], kind="article")
    changed = live_catalog.with_changes([article], revision=1)
    (products,) = recommend(bundle, customers[:1], placement, changed, 10)
    assert before.numbers[0] not in products.numbers
    reading = placement.model_copy(
        update={"rules": parse_rules([{"filter": {"kind": {"in": ["article", "product"]}}}])}
    )
    (mixed,) = recommend(bundle, customers[:1], reading, changed, 10)
    assert mixed.numbers.tolist() == before.numbers.tolist()


@pytest.mark.parametrize("n_excluded", [3, 40])
def test_excluded_items_stay_out_however_many_they_are(
    bundle: Bundle,
    live_catalog: LiveCatalog,
    customers: list[Query],
    placement: Placement,
    n_excluded: int,
) -> None:
    for query in customers[:8]:
        (all_of_it,) = recommend(bundle, [query], placement, live_catalog, 100)
        seen = all_of_it.numbers[:n_excluded]
        exclude = [np.append(seen, np.int32(-1)).astype(np.int32)]
        (rest,) = recommend(bundle, [query], placement, live_catalog, 100, exclude=exclude)
        ids = [bundle.items.id(number) for number in seen.tolist()]
        (by_rule,) = recommend(
            bundle, [query], placement, live_catalog, 100, rules=rules(exclude=ids)
        )
        for answer in (rest, by_rule):
            assert not set(seen.tolist()) & set(answer.numbers.tolist())
            assert len(answer.items) == 100


def test_what_rests_comes_back_after_soft_rules_gave_way(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query], placement: Placement
) -> None:
    puzzles = rules(filter={"category": "Toys > Puzzles"})
    passes = live_catalog.columns.mask(puzzles.filter) & live_catalog.eligible(customers[0].now)
    there = np.flatnonzero(passes).astype(np.int32)
    now = customers[0].now.timestamp()
    often = UnclickedImpressions(there[:2], np.full(2, 9, np.int32), np.full(2, now - 60.0))
    tiring = placement.model_copy(update={"fatigue": Fatigue(times=3)})
    capped = replace(customers[0], unclicked_impressions=often)
    (short,) = recommend(bundle, [capped], tiring, live_catalog, len(there) - 2, rules=puzzles)
    assert not set(there[:2].tolist()) & set(short.numbers.tolist())
    (whole,) = recommend(bundle, [capped], tiring, live_catalog, len(there), rules=puzzles)
    assert set(whole.numbers[-2:].tolist()) == set(there[:2].tolist())


def test_the_last_fallback_is_the_catalogue_and_it_is_named(
    bundle: Bundle, live_catalog: LiveCatalog, placement: Placement, small_data: TrainingData
) -> None:
    alone = replace(bundle, models={"als": bundle.models["als"]})
    simple = placement.model_copy(update={"blend": {"als": 1.0}, "fallback": ("popularity",)})
    (answer,) = recommend(alone, [Query(now=small_data.as_of)], simple, live_catalog, 4)
    assert [item.source for item in answer.items] == [CATALOG] * 4
    assert answer.fallback == CATALOG


def test_diagnostics_account_for_every_candidate(
    bundle: Bundle, live_catalog: LiveCatalog, customers: list[Query], placement: Placement
) -> None:
    asked = rules(
        filter={"category": {"not_in": ["Garden"]}},
        exclude={"price": {"min": 50}},
        boost=[{"where": {"category": "Toys"}, "factor": 2}],
    )
    sold_out = [msgspec.structs.replace(bundle.catalog.items[n], stock=0.0) for n in range(9)]
    now = live_catalog.with_changes(sold_out, revision=1)
    answers = recommend(bundle, customers, placement, now, 10, rules=asked, diagnose=True)
    hard = compile_rules(now, customers[0].now, request=asked)
    for answer in answers:
        report = answer.diagnostics
        assert report is not None
        assert set(report.candidates) == set(placement.models)
        effects = {effect.rule: effect for effect in report.effects}
        assert [*effects][:3] == ["stock", "request.filter", "request.exclude"]
        removed = sum(effect.removed for effect in report.effects)
        assert max(report.candidates.values()) >= removed > 0
        allowed = hard.allowed(now.eligible(customers[0].now))
        assert allowed[answer.numbers].all()
    plain = recommend(bundle, customers, placement, now, 10, rules=asked)
    assert [each.numbers.tolist() for each in plain] == [each.numbers.tolist() for each in answers]
    assert plain[0].diagnostics is None


def test_many_variants_of_one_product_do_not_hide_what_stands_behind_them(
    bundle: Bundle, live_catalog: LiveCatalog, placement: Placement, small_data: TrainingData
) -> None:
    items = bundle.catalog.items
    same = [msgspec.structs.replace(item, variant_of="the-product") for item in items[:120]]
    grouped = live_catalog.with_changes(same, revision=1)
    alone = replace(bundle, models={"als": bundle.models["als"]})
    simple = placement.model_copy(update={"blend": {"als": 1.0}})
    stranger = Query(now=small_data.as_of)
    (answer,) = recommend(alone, [stranger], simple, grouped, 10)
    assert len(answer.items) == 10
    assert sum(number < 120 for number in answer.numbers.tolist()) == 1
    most = rules(quota=[{"where": {"category": "Kitchen"}, "at_most": 1}])
    (answer,) = recommend(alone, [stranger], simple, grouped, 10, rules=most)
    assert len(answer.items) == 10
    assert sum(number < 120 for number in answer.numbers.tolist()) == 1
