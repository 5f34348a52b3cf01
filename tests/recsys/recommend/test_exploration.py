"""Exploration: bounded, placed low, drawn from what suits, its propensity true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Exploration
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.rules import Diversity, Rules
from recsys.dataset.training_data import TrainingData
from recsys.query.query import Query
from recsys.recommend.answers import EXPLORATION
from recsys.recommend.exploration import draw_new_items, exploration_spans
from recsys.recommend.operations import recommend

SHOWN = np.arange(10, dtype=np.int32)
NEW = np.arange(100, 108, dtype=np.int32)


def drawn(
    n: int, exploration: Exploration, *, draws: int = 4000, keeps_rules: bool = True
) -> list[tuple[list[int], tuple[float, ...]]]:
    rng = np.random.default_rng(1)
    shown = np.arange(n, dtype=np.int32)
    lists = []
    for _ in range(draws):
        draw = draw_new_items(
            shown,
            NEW,
            exploration,
            rng=rng,
            best_new=lambda: NEW[:4],
            keeps_rules=lambda numbers: keeps_rules,
        )
        lists.append((draw.numbers.tolist(), draw.propensities))
    return lists


@pytest.mark.parametrize(("n", "every", "first"), [(10, 10, 3), (8, 10, 3), (30, 10, 3), (5, 2, 1)])
def test_new_items_get_their_share_and_no_more(n: int, every: int, first: int) -> None:
    exploration = Exploration(share=0.05, every=every, first=first)
    lists = drawn(n, exploration)
    news = [[number for number in numbers if number >= 100] for numbers, _ in lists]
    share = sum(map(len, news)) / (n * len(lists))
    assert share == pytest.approx(0.05, rel=0.1)
    assert max(map(len, news)) <= max(1, n // every)
    assert {number for row in news for number in row} <= set(NEW[:4].tolist())


def test_no_new_item_stands_above_its_first_position() -> None:
    exploration = Exploration(share=0.1, first=3)
    for numbers, _ in drawn(10, exploration):
        assert numbers[:3] == [0, 1, 2]
        assert len(set(numbers)) == 10
        kept = [number for number in numbers if number < 100]
        assert kept == sorted(kept)


@pytest.mark.parametrize("n", [10, 30])
def test_the_propensity_is_the_chance_to_stand_in_the_list(n: int) -> None:
    lists = drawn(n, Exploration(share=0.08), draws=6000)
    stated: dict[int, set[float]] = {}
    seen: dict[int, int] = {}
    for numbers, propensities in lists:
        for number, propensity in zip(numbers, propensities, strict=True):
            stated.setdefault(number, set()).add(round(propensity, 6))
            seen[number] = seen.get(number, 0) + 1
    for number, propensities in stated.items():
        assert len(propensities) == 1, number
        assert seen[number] / len(lists) == pytest.approx(propensities.pop(), abs=0.03)


def test_without_new_items_or_with_rules_against_them_nothing_is_drawn() -> None:
    for numbers, _ in drawn(10, Exploration(share=0.1), draws=50, keeps_rules=False):
        assert numbers == SHOWN.tolist()
    nothing = draw_new_items(
        SHOWN,
        np.empty(0, np.int32),
        Exploration(),
        rng=np.random.default_rng(0),
        best_new=lambda: NEW,
        keeps_rules=lambda numbers: True,
    )
    assert nothing.propensities == (1.0,) * 10
    assert exploration_spans(3, Exploration(first=3)) == []


@pytest.fixture
def fresh(bundle: Bundle, small_data: TrainingData) -> tuple[Bundle, LiveCatalog]:
    """The small shop with twenty items that nobody has touched, exploring for everybody."""
    first_seen = np.full(len(bundle.items), -np.inf)
    first_seen[:20] = np.nan
    placement = bundle.placements["for_you"].model_copy(
        update={"exploration": Exploration(share=0.1, first=2)}
    )
    exploring = replace(bundle, placements={"for_you": placement}, first_seen=first_seen)
    return exploring, LiveCatalog.of(bundle.catalog, first_seen=first_seen)


def test_an_answer_explores_only_with_a_generator_and_marks_what_was_drawn(
    fresh: tuple[Bundle, LiveCatalog], small_data: TrainingData
) -> None:
    bundle, live_catalog = fresh
    query = Query(now=small_data.as_of)
    placement = bundle.placements["for_you"]
    (plain,) = recommend(bundle, [query], placement, live_catalog, 10)
    assert all(item.propensity == 1.0 and item.source != EXPLORATION for item in plain.items)
    assert not (set(plain.numbers.tolist()) >= set(range(20)))
    (exploring,) = recommend(
        bundle, [query], placement, live_catalog, 10, rng=np.random.default_rng(0), explain=True
    )
    marked = [item for item in exploring.items if item.source == EXPLORATION]
    assert len(marked) == 1
    assert marked[0].number < 20
    assert marked[0].number not in plain.numbers
    assert 0 < marked[0].propensity <= 1 / 10
    assert exploring.numbers[:2].tolist() == plain.numbers[:2].tolist()


def test_what_is_drawn_keeps_the_rules_of_the_list(
    fresh: tuple[Bundle, LiveCatalog], small_data: TrainingData
) -> None:
    bundle, live_catalog = fresh
    query = Query(now=small_data.as_of)
    one_each = Rules(diversity=[Diversity(per="brand", at_most=1)])
    for seed in range(20):
        (answer,) = recommend(
            bundle,
            [query],
            bundle.placements["for_you"],
            live_catalog,
            5,
            rules=one_each,
            rng=np.random.default_rng(seed),
        )
        brands = [live_catalog.items[number].brand for number in answer.numbers.tolist()]
        assert len(set(brands)) == len(brands)
