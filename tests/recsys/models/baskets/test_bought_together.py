"""Bought together: rules against counting by hand, floors, and whole carts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData
from recsys.models.baskets.association_rules import association_rules
from recsys.models.baskets.bought_together import BoughtTogetherConfig, fit_bought_together
from recsys.models.baskets.cold_item_rules import ColdItemRulesConfig
from recsys.models.baskets.substitutes import category_factors
from recsys.models.scoring import neighbours as neighbours_module
from recsys.query.query import Query

RNG = np.random.default_rng(0)
COUNTED = {"size_discount": 0.0, "half_life_days": None, "shrinkage": 0.0, "lift_power": 0.0}
"""Every basket alike: the strength of a pair is its confidence."""
Reader = Callable[..., TrainingData]


@pytest.fixture(scope="module")
def many_baskets(read: Reader) -> TrainingData:
    rng = np.random.default_rng(2)
    return read(
        [
            (
                None if n % 4 == 0 else f"p{rng.integers(12)}",
                float(rng.uniform(1, 90)),
                [f"i{item}" for item in rng.choice(9, int(rng.integers(1, 5)), replace=False)],
            )
            for n in range(150)
        ]
    )


@pytest.fixture(scope="module")
def cameras(read: Reader) -> TrainingData:
    """Camera and lens go together; everybody buys milk; one person buys the hat with all else."""
    baskets = [(f"c{n}", 10.0 + n, ["camera", "lens"]) for n in range(6)]
    baskets += [(f"m{n}", 10.0 + n, ["milk"]) for n in range(20)]
    baskets += [("c0", 30.0, ["camera", "milk"]), ("c7", 31.0, ["camera", "card", "lens"])]
    baskets += [("x", 40.0 + n, ["camera", "hat"]) for n in range(5)]
    baskets += [(f"d{n}", 50.0, ["card", "case"]) for n in range(4)]
    return read(baskets)


def test_the_rules_are_what_counting_every_basket_gives(
    many_baskets: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours_module, "MULTIPLICATIONS_AT_ONCE", 300)
    rules = association_rules(many_baskets.baskets)
    baskets = many_baskets.baskets
    sets = [
        set(baskets.matrix.indices[slice(*baskets.matrix.indptr[n : n + 2])].tolist())
        for n in range(len(baskets.users))
    ]
    who = [f"known {u}" if u >= 0 else f"basket {n}" for n, u in enumerate(baskets.users)]
    results = {
        (i, j): values
        for i, j, *values in zip(
            rules.antecedents.tolist(),
            rules.consequents.tolist(),
            rules.support.tolist(),
            rules.confidence.tolist(),
            rules.lift.tolist(),
            rules.customers.tolist(),
            strict=True,
        )
    }
    pairs = {pair for items in sets for pair in permutations(items, 2)}
    assert set(results) == pairs
    for i, j in pairs:
        both = [n for n, items in enumerate(sets) if {i, j} <= items]
        p_i, p_j = (sum(item in items for items in sets) / len(sets) for item in (i, j))
        support = len(both) / len(sets)
        assert results[i, j] == pytest.approx(
            [support, support / p_i, support / p_i / p_j, len({who[n] for n in both})]
        )


def test_a_camera_calls_for_lenses(cameras: TrainingData) -> None:
    model = fit_bought_together(cameras, BoughtTogetherConfig(**COUNTED), rng=RNG)
    cart = Query(now=cameras.as_of, seeds=cameras.items.numbers(["camera"]))
    everything = np.ones(len(cameras.items), np.bool_)
    results = model.condition([cart]).retrieve(5, everything)[0]
    assert cameras.items.ids(results.numbers) == ["lens"]
    assert results.scores[0] == pytest.approx(7 / 13)  # baskets with both over those with a camera


def test_one_customer_who_always_does_it_is_no_rule(cameras: TrainingData) -> None:
    """Five baskets of one person are a single customer; the lift of the hat is high."""
    camera, hat = cameras.items.numbers(["camera", "hat"]).tolist()
    plain = fit_bought_together(cameras, BoughtTogetherConfig(min_customers=1), rng=RNG)
    evidence = plain.evidence(camera, hat)
    assert evidence is not None
    assert (evidence.customers, evidence.lift > 1) == (1, True)
    assert (
        fit_bought_together(cameras, BoughtTogetherConfig(min_customers=2), rng=RNG).evidence(
            camera, hat
        )
        is None
    )


def test_what_everybody_buys_anyway_is_no_rule(cameras: TrainingData) -> None:
    camera, milk = cameras.items.numbers(["camera", "milk"]).tolist()
    strict = fit_bought_together(cameras, BoughtTogetherConfig(min_customers=1), rng=RNG)
    assert strict.evidence(camera, milk) is None
    loose = BoughtTogetherConfig(min_customers=1, lift_above=0.0)
    evidence = fit_bought_together(cameras, loose, rng=RNG).evidence(camera, milk)
    assert evidence is not None
    assert evidence.lift < 1


def test_a_cart_adds_what_its_items_call_for_the_strongest_most(
    many_baskets: TrainingData,
) -> None:
    config = BoughtTogetherConfig(min_customers=1, lift_above=0.0, sharpness=3.0)
    model = fit_bought_together(many_baskets, config, rng=RNG)
    cart = many_baskets.items.numbers(["i1", "i4", "i7"])
    scores = model.condition([Query(now=many_baskets.as_of, seeds=cart)]).score(
        [np.arange(9, dtype=np.int32)]
    )[0]
    expected = (model.strength.toarray()[cart] ** 3).sum(axis=0) ** (1 / 3)
    others = np.setdiff1d(np.arange(9), cart)
    np.testing.assert_allclose(scores[others], expected[others], rtol=1e-5)
    assert np.isnan(scores[cart]).all()


def test_the_strength_of_a_pair_is_what_counting_its_baskets_gives(
    many_baskets: TrainingData,
) -> None:
    config = BoughtTogetherConfig(
        min_customers=1, lift_above=0.0, half_life_days=30.0, shrinkage=0.1, neighbours=None
    )
    strength = fit_bought_together(many_baskets, config, rng=RNG).strength.toarray()
    bought = many_baskets.baskets.matrix.toarray()
    ages = (many_baskets.as_of.timestamp() - many_baskets.baskets.times) / 86400
    weights = 2 ** (-ages / 30.0) / bought.sum(axis=1)
    both = (bought * weights[:, None]).T @ bought
    each = both.diagonal().copy()
    lift = both * each.sum() / np.outer(each, each)
    expected = both / (each[:, None] + 0.1 * each.mean()) * np.sqrt(np.log1p(lift))
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(strength, expected, rtol=1e-4)


def test_a_small_basket_says_more_than_a_large_one(read: Reader) -> None:
    large = [f"x{n}" for n in range(20)]
    shop = read(
        [(f"s{n}", 5.0, ["a", "b"]) for n in range(4)]
        + [(f"l{n}", 5.0, ["a", *large]) for n in range(5)]
    )
    model = fit_bought_together(shop, BoughtTogetherConfig(lift_above=0.0), rng=RNG)
    a, b, x = shop.items.numbers(["a", "b", "x1"]).tolist()
    strength = model.strength.toarray()
    assert strength[a, b] > strength[a, x]
    by_count, of_large = model.evidence(a, b), model.evidence(a, x)
    assert by_count is not None
    assert of_large is not None
    assert by_count.confidence < of_large.confidence


def test_substitutes_weigh_less_where_baskets_say_so(read: Reader) -> None:
    """Mugs and lids go together; a second mug is rare, another lid is not."""
    rng = np.random.default_rng(8)
    baskets = []
    for person in range(300):
        mug, lids = rng.integers(3), rng.choice(3, 2, replace=False)
        items = [f"mug{mug}", *(f"lid{lid}" for lid in lids)]
        items += [f"mug{(mug + 1) % 3}"] if person % 30 == 0 else []
        baskets.append((f"p{person}", 5.0, items))
    catalog = [
        Item(item_id=f"{kind}{n}", category=[kind]) for kind in ("mug", "lid") for n in range(3)
    ]
    shop = read(baskets, catalog=catalog)
    ones = np.ones(len(shop.baskets.users))
    factors = dict(
        zip(
            shop.catalog.category_names.ids(),
            category_factors(shop.baskets, ones, shop.catalog.categories).tolist(),
            strict=True,
        )
    )
    assert factors["mug"] < 0.5
    assert factors["lid"] == 1.0
    loose = BoughtTogetherConfig(lift_above=0.0, min_customers=1, **COUNTED)
    discounted = fit_bought_together(shop, loose, rng=RNG).strength.toarray()
    plain = loose.model_copy(update={"substitutes": False})
    untold = fit_bought_together(shop, plain, rng=RNG).strength.toarray()
    mugs, lids = shop.items.numbers(["mug0", "mug1"]), shop.items.numbers(["lid0", "lid1"])
    assert discounted[mugs[0], mugs[1]] == pytest.approx(factors["mug"] * untold[mugs[0], mugs[1]])
    assert discounted[mugs[0], lids[0]] == untold[mugs[0], lids[0]]


def test_an_item_without_baskets_borrows_from_those_described_like_it(read: Reader) -> None:
    catalog = [
        Item(item_id="camera", title="Compact camera black"),
        Item(item_id="new", title="Compact camera silver"),
        Item(item_id="lens", title="Wide lens"),
        Item(item_id="milk", title="Milk"),
    ]
    shop = read([(f"p{n}", 5.0, ["camera", "lens"]) for n in range(4)], catalog=catalog)
    model = fit_bought_together(shop, BoughtTogetherConfig(lift_above=0.0), rng=RNG)
    cart = Query(now=shop.as_of, seeds=shop.items.numbers(["new"]))
    everything = np.ones(len(shop.items), np.bool_)
    results = model.condition([cart]).retrieve(5, everything)[0]
    assert shop.items.ids(results.numbers) == ["lens"]
    assert model.evidence(*shop.items.numbers(["new", "lens"]).tolist()) is None
    alone = BoughtTogetherConfig(lift_above=0.0, borrowing=ColdItemRulesConfig(lenders=0))
    without = fit_bought_together(shop, alone, rng=RNG)
    assert not len(without.condition([cart]).retrieve(5, everything)[0])


def test_only_the_strongest_consequents_are_kept(many_baskets: TrainingData) -> None:
    loose = BoughtTogetherConfig(min_customers=1, lift_above=0.0)
    whole = fit_bought_together(many_baskets, loose, rng=RNG).strength.toarray()
    few = fit_bought_together(
        many_baskets, loose.model_copy(update={"neighbours": 3}), rng=RNG
    ).strength.toarray()
    for item in range(9):
        np.testing.assert_array_equal(
            np.sort(few[item][few[item] > 0]), np.sort(whole[item][whole[item] > 0])[-3:]
        )


def test_a_wholesale_order_teaches_nothing(read: Reader) -> None:
    shop = read([("w", 5.0, [f"i{n}" for n in range(30)]), ("p", 6.0, ["i1", "i2"])])
    config = BoughtTogetherConfig(min_customers=1, lift_above=0.0, max_basket_items=29)
    model = fit_bought_together(shop, config, rng=RNG)
    assert model.strength.nnz == 2


def test_a_certain_rule_stays_certain(read: Reader) -> None:
    shop = read([(f"p{n}", 5.0, ["a", "b"]) for n in range(3)] + [("q", 6.0, ["c"])])
    model = fit_bought_together(shop, BoughtTogetherConfig(**COUNTED), rng=RNG)
    cart = Query(now=shop.as_of, seeds=shop.items.numbers(["a"]))
    score = model.condition([cart]).score([shop.items.numbers(["b"])])[0][0]
    assert score == pytest.approx(1.0, abs=1e-5)
