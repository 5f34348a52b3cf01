"""Features of (query, item) mean what their names say, and follow one slow definition."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.events.schema import KIND_NUMBER, PURCHASE
from recsys.ids import NONE
from recsys.query.history import History
from recsys.query.query import Query
from recsys.ranking.features import COLUMNS, ItemFacts, feature_matrix, item_facts

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = 86_400.0
VIEW = KIND_NUMBER["view_item"]


def facts_of(**columns: list[float]) -> ItemFacts:
    """Four items; what is not given is the same for all."""
    plain = {
        "prices": [1.0, 2.0, 4.0, np.nan],
        "categories": [0, 0, 1, -1],
        "brands": [0, 1, 1, -1],
        "demand_7": [1.0, 2.0, 0.0, 0.0],
        "demand_30": [4.0, 5.0, 6.0, 0.0],
        "demand": [40.0, 5.0, 60.0, 0.0],
        "first_seen": [NOW.timestamp() - days * DAY for days in (100, 10, 300, np.nan)],
        "rebuy_rates": [0.5, 0.1, 0.2, 0.3],
        "intervals": [20.0, 30.0, 40.0, 50.0],
    }
    empty = ItemFacts.empty()
    return ItemFacts(
        **{
            column.name: np.array(
                {**plain, **columns}[column.name], getattr(empty, column.name).dtype
            )
            for column in fields(ItemFacts)
        }
    )


def history_of(*events: tuple[int, int, float]) -> History:
    """(item, kind, days ago), oldest first; a purchase weighs 5, all else 1."""
    items, kinds, ages = (np.array(column) for column in zip(*events, strict=True))
    weights = np.where(kinds == PURCHASE, 5.0, 1.0).astype(np.float32)
    return History(
        items.astype(np.int32), kinds.astype(np.int8), NOW.timestamp() - ages * DAY, weights
    )


HISTORY = history_of(
    (0, PURCHASE, 60.0), (1, PURCHASE, 60.0), (2, VIEW, 45.0), (0, PURCHASE, 30.0),
    (0, PURCHASE, 30.0), (2, PURCHASE, 10.0), (1, VIEW, 3.0),
)  # fmt: skip
ALL = np.arange(4, dtype=np.int32)


def feature_values(
    history: History = HISTORY, facts: ItemFacts | None = None
) -> dict[str, np.ndarray]:
    """Name → the value of each of the four items."""
    query = Query(now=NOW, history=history)
    matrix = feature_matrix(facts or facts_of(), [query], [ALL])
    return dict(zip(COLUMNS, matrix.T, strict=True))


def slowly(query: Query, item: int, facts: ItemFacts) -> list[float]:
    """Every feature of one item, in the order of COLUMNS, by the plainest code there is."""
    now, history = query.now.timestamp(), query.history
    nan = float("nan")
    mine = history.items == item
    bought = history.kinds == PURCHASE
    invoices = sorted(set(history.times[bought].tolist()))
    purchase_days = sorted(set(history.times[bought & mine].tolist()))
    age = (now - purchase_days[-1]) / DAY if purchase_days else nan
    interval = (
        (purchase_days[-1] - purchase_days[0]) / DAY / (len(purchase_days) - 1)
        if len(purchase_days) > 1
        else nan
    )
    touched = history.times[mine]
    weights = np.maximum(history.weights, 0.0).astype(np.float64)
    total = weights.sum()
    prices = facts.prices[history.items]
    prices = prices[prices > 0]
    week, month = float(facts.demand_7[item]), float(facts.demand_30[item])
    ever, days = float(facts.demand[item]), (now - float(facts.first_seen[item])) / DAY
    price = float(facts.prices[item])
    category, brand = int(facts.categories[item]), int(facts.brands[item])
    lines = int(bought.sum())
    span = (invoices[-1] - invoices[0]) / DAY if invoices else nan
    return [
        len(purchase_days),
        float(history.weights[mine].sum()),
        len(purchase_days) / len(invoices) if invoices else 0.0,
        len(purchase_days) / sum(time >= purchase_days[0] for time in invoices)
        if purchase_days
        else 0.0,
        sum(time > purchase_days[-1] for time in invoices) if purchase_days else nan,
        age,
        (now - purchase_days[0]) / DAY if purchase_days else nan,
        interval,
        age / interval,
        age / float(facts.intervals[item]),
        int((mine & ~bought).sum()),
        (now - touched.max()) / DAY if len(touched) else nan,
        np.log1p(week),
        np.log1p(month),
        np.log1p(ever),
        np.log((week + 1) / (month * 7 / 30 + 1)),
        np.log((month + 1) / (ever * 30 / max(days if days == days else 30.0, 30.0) + 1)),
        days,
        float(facts.rebuy_rates[item]),
        float(facts.intervals[item]),
        price,
        np.log(price) - np.log(prices).mean() if price > 0 and len(prices) else nan,
        np.log1p(month) - np.log1p(facts.demand_30[history.items]).mean() if len(history) else nan,
        weights[facts.categories[history.items] == category].sum() / total
        if category >= 0 and total > 0
        else nan,
        weights[facts.brands[history.items] == brand].sum() / total
        if brand >= 0 and total > 0
        else nan,
        len(history),
        len(np.unique(history.items)),
        len(invoices),
        (now - invoices[-1]) / DAY if invoices else nan,
        span / (len(invoices) - 1) if len(invoices) > 1 else nan,
        lines / len(invoices) if invoices else nan,
        1 - len(np.unique(history.items[bought])) / lines if lines else nan,
    ]


def test_the_compiled_features_are_those_of_the_slow_definition(small_data: TrainingData) -> None:
    facts = item_facts(small_data)
    rng = np.random.default_rng(2)
    queries = [
        *small_data.queries(list(small_data.users)[:60], now=small_data.as_of),
        Query(now=small_data.as_of),
    ]
    candidates = [
        np.sort(rng.choice(len(small_data.items), 25, replace=False)).astype(np.int32)
        for _ in queries
    ]
    matrix = feature_matrix(facts, queries, candidates)
    expected = [
        slowly(query, item, facts)
        for query, items in zip(queries, candidates, strict=True)
        for item in items.tolist()
    ]
    np.testing.assert_allclose(matrix, np.array(expected), rtol=2e-4, atol=1e-4)
    assert (matrix[:, COLUMNS.index("purchases")] > 0).any()


def test_purchases_at_one_moment_are_one_invoice() -> None:
    values = feature_values()
    assert values["purchases"].tolist() == [2, 1, 1, 0]
    assert (values["invoices"] == 3).all()
    assert values["share of invoices"].tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3, 0])


def test_due_is_the_age_of_the_last_purchase_over_the_interval() -> None:
    values = feature_values()
    assert values["own interval"][0] == pytest.approx(30.0)
    assert values["due by own interval"][0] == pytest.approx(1.0)
    assert values["due by interval of the item"][2] == pytest.approx(10 / 40)
    assert np.isnan(values["due by own interval"][1:]).all()


def test_what_was_never_bought_has_no_recency() -> None:
    values = feature_values()
    for name in ("days since last purchase", "invoices since the last", "own interval"):
        assert np.isnan(values[name][3])
    assert values["purchases"][3] == 0


def test_price_is_seen_beside_the_habit_of_the_customer() -> None:
    cheap = feature_values(history_of((0, PURCHASE, 5.0)))["price beside habit"]
    dear = feature_values(history_of((2, PURCHASE, 5.0)))["price beside habit"]
    assert cheap[2] > dear[2]
    assert cheap[0] == pytest.approx(0.0)
    assert np.isnan(cheap[3])


def test_an_affinity_is_the_share_of_the_history() -> None:
    values = feature_values(history_of((0, PURCHASE, 5.0), (2, PURCHASE, 5.0)))
    assert values["category affinity"].tolist()[:3] == pytest.approx([0.5, 0.5, 0.5])
    assert np.isnan(values["category affinity"][3])
    alone = feature_values(history_of((2, PURCHASE, 5.0)))
    assert alone["category affinity"].tolist()[:3] == pytest.approx([0, 0, 1])


def test_a_batch_gives_what_its_single_queries_give() -> None:
    queries = [
        Query(now=NOW, history=HISTORY),
        Query(now=NOW),
        Query(now=NOW + timedelta(days=3), history=history_of((2, PURCHASE, 1.0))),
    ]
    candidates = [ALL, ALL[1:], ALL[:2]]
    together = feature_matrix(facts_of(), queries, candidates)
    alone = [
        feature_matrix(facts_of(), [query], [items])
        for query, items in zip(queries, candidates, strict=True)
    ]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    assert feature_matrix(facts_of(), [], []).shape == (0, len(COLUMNS))


def test_facts_know_nothing_of_later_days(small_shop) -> None:
    early = small_shop.as_of(small_shop.end - timedelta(days=30))
    late = small_shop.as_of(small_shop.end)
    facts, later = item_facts(early), item_facts(late)
    assert facts.demand.sum() < later.demand.sum()
    assert np.nanmax(facts.first_seen) < early.as_of.timestamp()


def test_demand_counts_its_days_alone(small_data: TrainingData) -> None:
    facts = item_facts(small_data)
    assert (facts.demand_7 <= facts.demand_30).all()
    assert (facts.demand_30 <= facts.demand).all()
    assert facts.demand_7.sum() < facts.demand_30.sum() < facts.demand.sum()


def test_an_item_that_everybody_buys_again_has_the_higher_rebuy_rate(
    small_data: TrainingData,
) -> None:
    facts = item_facts(small_data)
    timeline = small_data.timeline
    bought = timeline.kinds == PURCHASE
    pairs: dict[tuple[int, int], set[float]] = {}
    for user, item, time in zip(
        timeline.users[bought].tolist(),
        timeline.items[bought].tolist(),
        timeline.times[bought].tolist(),
        strict=True,
    ):
        pairs.setdefault((user, item), set()).add(time)
    plain = np.zeros(len(small_data.items))
    customers = np.zeros(len(small_data.items))
    for (_, item), times in pairs.items():
        customers[item] += 1
        plain[item] += len(times) > 1
    mean = plain.sum() / customers.sum()
    np.testing.assert_allclose(facts.rebuy_rates, (plain + 5 * mean) / (customers + 5), rtol=1e-5)


def test_a_missing_array_of_facts_is_named() -> None:
    arrays = dict(facts_of().arrays())
    for name in arrays:
        with pytest.raises(BundleError, match=name):
            ItemFacts.from_arrays({key: value for key, value in arrays.items() if key != name})
        with pytest.raises(BundleError, match="misshapen"):
            ItemFacts.from_arrays({**arrays, name: arrays[name][:2]})


def test_items_that_are_no_candidates_do_not_matter() -> None:
    query = Query(now=NOW, history=HISTORY)
    some = feature_matrix(facts_of(), [query], [ALL[1:3]])
    np.testing.assert_array_equal(some, feature_matrix(facts_of(), [query], [ALL])[1:3])
    assert feature_matrix(facts_of(), [query], [NONE]).shape == (0, len(COLUMNS))


def test_what_is_asked_later_is_older() -> None:
    query = Query(now=NOW, history=HISTORY)
    later = replace(query, now=NOW + timedelta(days=5))
    age = COLUMNS.index("days since last purchase")
    before = feature_matrix(facts_of(), [query], [ALL])[:3, age]
    after = feature_matrix(facts_of(), [later], [ALL])[:3, age]
    np.testing.assert_allclose(after - before, 5.0, rtol=1e-5)
