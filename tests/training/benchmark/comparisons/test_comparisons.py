"""Reranking, bought-together and cold start measured on a synthetic shop whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest

from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.events.log import EventLog
from recsys.events.log import rows as log_rows
from recsys.events.schema import anonymised
from recsys.events.weighting import Weighting
from recsys.synthetic import ShopConfig, SyntheticShop, make_shop, simulate
from training.benchmark.comparisons import bought_together, cold_start, rerank
from training.benchmark.comparisons.rows import AsOf, ComparisonRow, as_text
from training.config import Recipe

Shop = tuple[SyntheticShop, AsOf, datetime]
LIGHT = {
    name: {}
    for name in (
        *("search_clicks", "habits", "popularity", "popularity_by_country", "random_walk"),
        *("repeat", "content", "newcomers", "bought_together"),
    )
} | {"hybrid": {"embedding_size": 16, "epochs": 8}, "als": {"embedding_size": 16, "epochs": 8}}
RECIPE = Recipe(
    models=LIGHT,
    placements=({"name": "for_you", "blend": {"popularity": 1.0}},),  # type: ignore[arg-type]
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """450 customers, 450 items, 50 days: enough of a shelf for tastes to differ on it."""
    rng = np.random.default_rng(11)
    made = make_shop(ShopConfig(customers=450, items=450, days=50), rng=rng)
    log = EventLog(tmp_path_factory.mktemp("shop") / "event_log")
    events = [
        event if event.personalization else anonymised(event)
        for batch in simulate(made, days=50, rng=rng)
        for event in batch
    ]
    log.append(log_rows(events), part="history")
    profiles = {p.person.key: p for p in made.profiles if p.person.key is not None}
    read: dict[datetime, TrainingData] = {}

    def as_of(moment: datetime) -> TrainingData:
        if moment not in read:
            read[moment] = read_training_data(
                log, as_of=moment, weighting=Weighting(), catalog=made.items, profiles=profiles
            )
        return read[moment]

    return made, as_of, made.config.opening + timedelta(days=50)


def row(rows: Sequence[ComparisonRow], protocol: str, method: str) -> ComparisonRow:
    (only,) = (r for r in rows if r.protocol.startswith(protocol) and r.method == method)
    return only


@pytest.fixture(scope="module")
def reranked(shop: Shop) -> list[ComparisonRow]:
    made, as_of, end = shop
    return rerank.shop_rows(made, as_of, end, recipe=RECIPE, searches=800)


@pytest.mark.parametrize("other", ["engine", "popularity", "unpersonalised ranker"])
def test_a_known_customers_results_are_above_every_other_order(
    reranked: list[ComparisonRow], other: str
) -> None:
    above = row(reranked, "synthetic shop, known customers", other).lead["ndcg_at_10"]
    assert above.low > 0


def test_a_strangers_results_are_the_engines_improved_by_what_everybody_clicks(
    reranked: list[ComparisonRow],
) -> None:
    protocol = "synthetic shop, strangers"
    assert row(reranked, protocol, "engine").lead["ndcg_at_10"].low > 0
    same = row(reranked, protocol, "unpersonalised ranker").lead["ndcg_at_10"]
    assert same.value == pytest.approx(0.0, abs=1e-3)


def test_cold_items_find_their_buyers_far_above_chance(shop: Shop) -> None:
    _, as_of, end = shop
    known, later = as_of(end - timedelta(days=20)), as_of(end)
    rows = cold_start.item_rows(known, later, recipe=RECIPE, share=0.4)
    protocol = "cold items"
    assert [entry.method for entry in rows] == [
        "newcomers",
        "hybrid",
        "content",
        "popularity of the nearest titles",
    ]
    chance = 20 / int(rows[0].protocol.partition("(")[2].partition(" ")[0])
    assert row(rows, protocol, "newcomers").metrics["recall_at_20"].low > 1.5 * chance
    assert row(rows, protocol, "popularity of the nearest titles").lead["recall_at_20"].high > 0


def test_what_is_masked_is_gone_from_the_events_and_stays_in_the_catalogue(shop: Shop) -> None:
    _, as_of, end = shop
    data = as_of(end)
    masked = np.arange(len(data.items)) % 7 == 0
    cold = cold_start.without_events_of(data, masked)
    assert not masked[cold.timeline.items].any()
    assert not masked[cold.interactions.indices].any()
    assert not masked[cold.baskets.matrix.indices].any()
    assert not masked[cold.popularity.items].any()
    assert cold.catalog is data.catalog
    user = int(np.argmax(np.diff(data.timeline.starts)))
    before, after = (history.history(user, now=end).items for history in (data, cold))
    np.testing.assert_array_equal(after, before[~masked[before]])


def test_bought_together_is_not_below_counting_on_half_of_a_cart(shop: Shop) -> None:
    _, as_of, end = shop
    models = {**LIGHT, "bought_together": {"min_customers": 1}}
    recipe = RECIPE.model_copy(update={"models": models})
    rows = bought_together.rows(as_of, end - timedelta(days=14), end, recipe=recipe)
    half = "half of the cart given"
    for other in ("co-occurrence", "lift (support ≥ 3)", "Jaccard"):
        assert row(rows, half, other).lead["mrr_at_20"].high > 0
    assert "| bought_together |" in as_text(rows)


def test_the_log_likelihood_ratio_is_that_of_the_table_of_counts() -> None:
    ratio = bought_together.log_likelihood_ratio(
        np.array([10.0]), np.array([30.0]), np.array([20.0]), 100.0
    )[0]
    table = np.array([[10.0, 20.0], [10.0, 60.0]])
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    assert ratio == pytest.approx(2 * (table * np.log(table / expected)).sum())
