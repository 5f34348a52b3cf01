"""Search clicks: position bias recovered from simulated lists, rates by hand, what is private."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from recsys.dataset.impressions import BOUGHT, Impressions
from recsys.dataset.training_data import TrainingData
from recsys.ids import Vocabulary
from recsys.models.popularity.position_bias import position_bias
from recsys.models.popularity.search_clicks import (
    SearchClicksConfig,
    SearchClicksModel,
    fit_search_clicks,
    term_codes,
)
from recsys.query.query import Context, Query

Reader = Callable[..., TrainingData]
RNG = np.random.default_rng(0)
PLAIN = SearchClicksConfig(
    cart=2.0, purchase=4.0, prior=1.0, half_life_days=None, min_visits=1, severity=0.0
)


def lists(
    shown: Sequence[tuple[str, Sequence[int], Sequence[int]]],
    *,
    visits: Sequence[int] | None = None,
) -> Impressions:
    """(term, items, outcomes) per list; every list is a visit of its own unless told."""
    names = Vocabulary.of(term for term, _, _ in shown)
    sizes = [len(items) for _, items, _ in shown]
    n = len(shown)
    return Impressions(
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        terms=names.numbers([term for term, _, _ in shown]),
        users=np.full(n, -1, np.int32),
        visits=np.arange(n) if visits is None else np.array(visits),
        times=np.zeros(n),
        items=np.concatenate([items for _, items, _ in shown]).astype(np.int32),
        positions=np.concatenate([np.arange(size) for size in sizes]).astype(np.int32),
        outcomes=np.concatenate([outcomes for _, _, outcomes in shown]).astype(np.int8),
        term_names=names,
    )


@pytest.fixture(scope="module")
def shop(read: Reader) -> TrainingData:
    return read([("p", 1.0, [f"i{n}" for n in range(6)])])


def rates(model: SearchClicksModel, term: str, shop: TrainingData) -> np.ndarray:
    query = Query(now=shop.as_of, context=Context(search_term=term))
    return model.condition([query]).score([np.arange(len(shop.items), dtype=np.int32)])[0]


def test_what_is_looked_at_is_found_again_in_simulated_lists() -> None:
    """8 items in random order, examined with (1 + position)^−0.7, attracting 10 to 80 %."""
    rng = np.random.default_rng(4)
    truth = (1.0 + np.arange(8)) ** -0.7
    attraction = np.linspace(0.1, 0.8, 8)
    shown = []
    for _ in range(6000):
        items = rng.permutation(8)
        shown.append(("mug", items, rng.random(8) < truth * attraction[items]))
    np.testing.assert_allclose(position_bias(lists(shown)), truth, atol=0.05)


def test_a_rate_is_shrunk_to_the_item_and_the_item_to_the_shop(shop: TrainingData) -> None:
    shown = [("mug", [0, 1], [BOUGHT, 0]), ("mug", [0, 1], [0, 1]), ("lamp", [0], [0])]
    fitted = fit_search_clicks(replace(shop, impressions=lists(shown)), PLAIN, rng=RNG)
    overall = (4 + 1) / 5
    item_0, item_1 = (4 + overall) / (3 + 1), (1 + overall) / (2 + 1)
    mug = rates(fitted, "MUG ", shop)
    assert mug[:2] == pytest.approx([(4 + item_0) / (2 + 1), (1 + item_1) / (2 + 1)])
    assert np.isnan(mug[2:]).all()
    assert rates(fitted, "lamp", shop)[0] == pytest.approx((0 + item_0) / (1 + 1))
    assert np.isnan(rates(fitted, "chair", shop)).all()


def test_without_looking_there_is_no_dislike(shop: TrainingData) -> None:
    """Items 4 and 5 got as many clicks; 4 stood where few look, so it attracts more."""
    rng = np.random.default_rng(1)
    shown = []
    for _ in range(3000):
        order = np.concatenate([rng.permutation([0, 1, 2, 3, 5]), [4]])
        seen = rng.random(6) < np.array([1.0, 0.9, 0.8, 0.7, 0.6, 0.2])
        liked = rng.random(6) < np.where(order == 4, 0.8, np.where(order == 5, 0.2, 0.3))
        shown.append(("mug", order, seen & liked))
    # Other searches show the item at the top, which tells position from attraction.
    shown += [("lamp", [4, 0], [rng.random() < 0.8, 0]) for _ in range(300)]
    shown += [("mug", [4, 0], [rng.random() < 0.8, 0]) for _ in range(300)]
    logged = replace(shop, impressions=lists(shown))
    fair = rates(
        fit_search_clicks(logged, SearchClicksConfig(severity=1.0, half_life_days=None), rng=RNG),
        "mug",
        shop,
    )
    naive = SearchClicksConfig(severity=0.0, half_life_days=None)
    raw = rates(fit_search_clicks(logged, naive, rng=RNG), "mug", shop)
    assert fair[4] / fair[5] > 1.5 * raw[4] / raw[5]


def test_what_few_visits_searched_for_is_not_kept(shop: TrainingData) -> None:
    shown = [("secret", [0], [1])] * 5 + [("mug", [0], [1])] * 3
    logged = lists(shown, visits=[0, 0, 0, 1, 1, 2, 3, 4])
    model = fit_search_clicks(replace(shop, impressions=logged), SearchClicksConfig(), rng=RNG)
    assert np.isnan(rates(model, "secret", shop)).all()
    assert np.isfinite(rates(model, "mug", shop)[0])
    np.testing.assert_array_equal(model.codes, term_codes(["mug"]))


def test_a_shop_without_lists_has_no_opinion(shop: TrainingData) -> None:
    model = fit_search_clicks(shop, SearchClicksConfig(), rng=RNG)
    assert np.isnan(rates(model, "mug", shop)).all()
