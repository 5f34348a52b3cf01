"""TIFU-KNN and UP-CF against their formulas, customer by customer; what is stored and dropped."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.events.pseudonyms import pseudonyms_of
from recsys.models.user_neighbours.customer_rows import CustomerRows, Purchases, newest_customers
from recsys.models.user_neighbours.tifu_knn import TifuKnnConfig, TifuKnnModel, fit_tifu_knn
from recsys.models.user_neighbours.up_cf import UpCfConfig, UpCfModel, fit_up_cf
from recsys.query.query import Query

Reader = Callable[..., TrainingData]
RNG = np.random.default_rng(0)
ALL = np.arange(25, dtype=np.int32)


def everybody(data: TrainingData) -> list[Query]:
    return data.queries(list(data.users), now=data.as_of)


def scores_of(model: TifuKnnModel | UpCfModel, queries: list[Query]) -> NDArray[np.float64]:
    scores = model.condition(queries).score([ALL] * len(queries))
    return np.nan_to_num(np.array(scores, np.float64))


def baskets_of(data: TrainingData, user: int) -> list[tuple[float, set[int]]]:
    """(age in days, items) of a user's baskets, newest first."""
    span = slice(data.timeline.starts[user], data.timeline.starts[user + 1])
    items, times = data.timeline.items[span], data.timeline.times[span]
    now = data.as_of.timestamp()
    return [
        ((now - time) / 86_400, set(items[times == time].tolist()))
        for time in sorted(set(times.tolist()), reverse=True)
    ]


def temporal_frequency(
    baskets: list[tuple[float, set[int]]], config: TifuKnnConfig
) -> NDArray[np.float64]:
    """Hu et al. §3: the decayed mean of groups, each the decayed mean of its baskets."""
    size = config.group_size
    groups = [baskets[start : start + size] for start in range(0, len(baskets), size)]
    total = np.zeros(25)
    for g, group in enumerate(groups):
        of_group = np.zeros(25)
        for b, (_, items) in enumerate(group):
            of_group[sorted(items)] += config.within_decay**b
        total += config.group_decay**g * of_group / len(group)
    return total / len(groups)


@pytest.mark.parametrize("settings", [{}, {"group_size": 2, "neighbours": 5, "locality": 2.0}])
def test_tifu_knn_is_its_formula(random_shop: TrainingData, settings: dict[str, float]) -> None:
    config = TifuKnnConfig.model_validate(settings)
    frequencies = np.array(
        [temporal_frequency(baskets_of(random_shop, u), config) for u in range(30)]
    )
    units = frequencies / np.linalg.norm(frequencies, axis=1, keepdims=True)
    expected = []
    for user in range(30):
        similarities = units @ units[user]
        near = np.argsort(-similarities, kind="stable")[: config.neighbours]
        weights = similarities[near] ** config.locality
        mixed = weights @ frequencies[near] / weights.sum()
        expected.append(config.own_share * frequencies[user] + (1 - config.own_share) * mixed)
    model = fit_tifu_knn(random_shop, config, rng=RNG)
    results = scores_of(model, everybody(random_shop))
    np.testing.assert_allclose(results, np.array(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"asymmetry": 0.3, "neighbours": 6},
        {"recent_baskets": 2, "half_life_days": None, "locality": 1.0},
    ],
)
def test_up_cf_is_its_formula(random_shop: TrainingData, settings: dict[str, float]) -> None:
    config = UpCfConfig.model_validate(settings)
    popularity, sets = np.zeros((30, 25)), []
    for user in range(30):
        baskets = baskets_of(random_shop, user)
        sets.append(set().union(*(items for _, items in baskets)))
        counted = baskets[: config.recent_baskets]
        for age, items in counted:
            weight = 1.0 if config.half_life_days is None else 2 ** (-age / config.half_life_days)
            popularity[user, sorted(items)] += weight / (
                1 if config.recent_baskets is None else len(counted)
            )
    expected = []
    for basket in sets:
        similarities = np.array(
            [
                len(basket & other)
                / (len(basket) ** config.asymmetry * len(other) ** (1 - config.asymmetry))
                for other in sets
            ]
        )
        near = np.argsort(-similarities.astype(np.float32), kind="stable")[: config.neighbours]
        expected.append(similarities[near] ** config.locality @ popularity[near])
    model = fit_up_cf(random_shop, config, rng=RNG)
    results = scores_of(model, everybody(random_shop))
    np.testing.assert_allclose(results, np.array(expected), rtol=1e-4, atol=1e-6)


def test_baskets_are_counted_from_the_newest_and_lines_once() -> None:
    purchases = Purchases.of(
        np.array([1, 0, 0, 0, 0], np.int32),
        np.array([9, 7, 7, 8, 7], np.int32),
        np.array([5.0, 2.0, 1.0, 2.0, 2.0]),
    )
    rows = np.stack([purchases.users, purchases.items, purchases.ranks, purchases.baskets], axis=1)
    assert rows.tolist() == [[0, 7, 1, 2], [0, 7, 0, 2], [0, 8, 0, 2], [1, 9, 0, 1]]


def test_a_customer_who_asks_is_their_own_stored_row(random_shop: TrainingData) -> None:
    """The same frequencies come out of a history when serving and of the timeline in training."""
    model = fit_tifu_knn(random_shop, TifuKnnConfig(own_share=1.0), rng=RNG)
    results = scores_of(model, everybody(random_shop))
    np.testing.assert_allclose(results, model.rows.values.toarray(), rtol=1e-5, atol=1e-7)


def test_only_the_customers_who_bought_last_are_stored(random_shop: TrainingData) -> None:
    _, owners = newest_customers(random_shop, 7)
    ages = {person: baskets_of(random_shop, u)[0][0] for u, person in enumerate(random_shop.users)}
    newest = sorted(ages, key=lambda person: ages[person])[:7]
    assert set(owners.tolist()) == set(pseudonyms_of(newest).tolist())


def test_an_erased_customer_no_longer_speaks(random_shop: TrainingData) -> None:
    model = fit_up_cf(random_shop, UpCfConfig(), rng=RNG)
    queries = everybody(random_shop)
    left = model.drop_users(pseudonyms_of(["u:p04", "u:p05"]))
    assert left.rows.values.shape == (28, 25)
    assert not np.allclose(scores_of(left, queries), scores_of(model, queries))


def test_rows_that_do_not_fit_each_other_are_refused(random_shop: TrainingData) -> None:
    arrays = dict(fit_up_cf(random_shop, UpCfConfig(), rng=RNG).arrays())
    with pytest.raises(BundleError, match="owners"):
        UpCfModel.from_arrays({**arrays, "owners": arrays["owners"][:-1]})


def test_where_everybody_is_a_buyer_the_rarest_items_tell_who_is_near() -> None:
    # Item 0 was bought by all five customers, item 1 by the last two, item 2 by nobody who asks.
    bought = csr_array(
        np.array([[1, 0, 1], [1, 0, 1], [1, 0, 1], [1, 1, 0], [1, 1, 0]], np.float32)
    )
    rows = CustomerRows.of(bought, bought, pseudonyms_of([f"u:{number}" for number in range(5)]))
    asking = csr_array(np.array([[1, 1, 0]], np.float32))
    (everybody,) = rows.nearest(asking, 5)
    assert everybody.numbers.tolist() == [3, 4, 0, 1, 2]
    assert everybody.scores.tolist() == [2, 2, 1, 1, 1]
    (few,) = rows.nearest(asking, 5, most_postings=6)
    assert few.numbers.tolist() == [3, 4]
    (nearest_rows,) = rows.nearest(csr_array(np.array([[1, 0, 0]], np.float32)), 5, most_postings=1)
    assert len(nearest_rows) == 5
