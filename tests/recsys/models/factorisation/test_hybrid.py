"""The hybrid: representations as LightFM has them, no leak from positives, new items and traits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData
from recsys.models.factorisation.hybrid import HybridConfig, HybridModel, fit_hybrid, narrow
from recsys.models.factorisation.hybrid_features import item_features, moments, pooled, traits_of
from recsys.query.profile import Profile
from recsys.query.query import Context, Query

Reader = Callable[..., TrainingData]
N = 24
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def shop(read: Reader) -> TrainingData:
    """Group `trade` buys Tools, group `home` buys Toys; `t-new` and `y-new` nobody bought yet."""
    rng = np.random.default_rng(4)
    purchases = [
        (f"{group}{person:02}", 40.0 - n, [f"{group}{item:02}"])
        for person in range(25)
        for group in ("t", "y")
        for n, item in enumerate(rng.choice(N // 2, 6, replace=False))
    ]
    names = {"t": "Tools", "y": "Toys"}
    catalog = [
        Item(item_id=f"{group}{item}", category=[names[group]], brand=f"Brand {group}", price=9.0)
        for group in "ty"
        for item in [*(f"{n:02}" for n in range(N // 2)), "-new", "-twin"]
    ]
    profiles = {
        f"u:{group}{person:02}": Profile(
            user_id=f"{group}{person:02}", customer_group={"t": "trade", "y": "home"}[group]
        )
        for person in range(25)
        for group in "ty"
    }
    return read(purchases, catalog=catalog, profiles=profiles)


@pytest.fixture(scope="module")
def model(shop: TrainingData) -> HybridModel:
    config = HybridConfig(embedding_size=8, epochs=30)
    return fit_hybrid(shop, config, rng=np.random.default_rng(0))


def first_letters(shop: TrainingData, model: HybridModel, query: Query, n: int) -> set[str]:
    results = model.condition([query]).retrieve(n, np.ones(len(shop.items), np.bool_))[0]
    return {id[0] for id in shop.items.ids(results.numbers)}


def test_a_taste_is_found_from_the_history_alone(checkerboard: TrainingData) -> None:
    config = HybridConfig(embedding_size=4, epochs=60)
    model = fit_hybrid(checkerboard, config, rng=np.random.default_rng(0))
    queries = checkerboard.queries(checkerboard.users.ids(), now=checkerboard.as_of)
    results = model.condition(queries).retrieve(8, np.ones(20, np.bool_))
    alone = [
        np.mean(best.numbers % 2 == query.history.items[0] % 2)
        for query, best in zip(queries, results, strict=True)
    ]
    assert np.mean(alone) > 0.95  # chance: 0.5


def test_a_stranger_is_known_by_the_declared_group(shop: TrainingData, model: HybridModel) -> None:
    for group, letter in (("trade", "t"), ("home", "y")):
        stranger = Query(now=shop.as_of, profile=Profile(customer_group=group))
        assert first_letters(shop, model, stranger, 8) == {letter}


def test_a_new_item_is_scored_by_what_it_is(shop: TrainingData, model: HybridModel) -> None:
    tool, toy = shop.items.numbers(["t-new", "y-new"])
    query = shop.queries(["u:t03"], now=shop.as_of)
    scores = model.condition(query).score([np.array([tool, toy])])[0]
    assert scores[0] > scores[1]


def test_new_items_of_one_description_get_one_score(shop: TrainingData, model: HybridModel) -> None:
    """Their identity was never learnt, so that it must not add noise."""
    new = shop.items.numbers(["t-new", "t-twin"])
    scores = model.condition(shop.queries(["u:t03"], now=shop.as_of)).score([new])[0]
    assert scores[0] == scores[1]


def test_the_score_is_what_lightfm_itself_predicts(
    shop: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LightFM.predict on the same feature rows, up to the person's own bias, is the oracle."""
    import lightfm
    from scipy.sparse import csr_matrix, hstack

    fitted: list[lightfm.LightFM] = []

    class Watched(lightfm.LightFM):  # type: ignore[misc]
        def fit(self, *positional: object, **named: object) -> object:
            fitted.append(self)
            return super().fit(*positional, **named)

    monkeypatch.setattr(lightfm, "LightFM", Watched)
    config = HybridConfig(embedding_size=6, epochs=3)
    model = fit_hybrid(shop, config, rng=np.random.default_rng(0))
    as_candidate, as_history = item_features(shop)
    query = shop.queries(["u:t05"], now=shop.as_of)[0]
    items, weights = pooled(*query.history.totals(), max_items=config.max_history_items)
    row = np.zeros((1, len(shop.items)), np.float32)
    row[0, items] = weights
    traits = np.zeros((1, len(model.traits)), np.float32)
    traits[0, model.traits.known(traits_of(query.profile, None))] = 1.0
    features = hstack([csr_matrix(row) @ as_history, csr_matrix(traits)], format="csr")
    everything = np.arange(len(shop.items), dtype=np.int32)
    expected = fitted[0].predict(
        np.zeros(len(everything), np.int32),
        everything,
        user_features=narrow(features),
        item_features=narrow(as_candidate),
    )
    results = model.condition([query]).score([everything])[0]
    difference = expected - results
    np.testing.assert_allclose(difference, difference[0], atol=1e-5)
    assert np.ptp(results) > 0.1


def test_what_is_predicted_came_after_what_predicts_it(shop: TrainingData) -> None:
    past = moments(shop, parts=3, max_items=50, max_positives=10_000, rng=RNG)
    timeline = shop.timeline
    first_time = {
        (int(user), int(item)): time
        for user, item, time in zip(timeline.users, timeline.items, timeline.times, strict=True)
    }
    for row, user in enumerate(past.users.tolist()):
        known, asked = past.histories[[row]].indices, past.positives[[row]].indices
        assert not set(known) & set(asked)
        if len(known):
            latest = max(first_time[user, int(item)] for item in known)
            assert latest < min(first_time[user, int(item)] for item in asked)
            assert past.histories[[row]].sum() == pytest.approx(1.0, rel=1e-5)
    assert past.positives.nnz == shop.interactions.nnz


def test_no_more_positives_are_learnt_than_allowed(shop: TrainingData) -> None:
    whole = moments(shop, parts=3, max_items=50, max_positives=10_000, rng=RNG)
    some = moments(shop, parts=3, max_items=2, max_positives=40, rng=RNG)
    assert some.positives.nnz == 40 < whole.positives.nnz
    assert some.positives.shape == some.histories.shape == (len(some.users), len(shop.items))
    assert np.diff(some.histories.indptr).max() == 2


def test_the_items_of_one_event_are_never_torn_apart(read: Reader) -> None:
    shop = read([("p", 9.0, ["a", "b"]), ("p", 5.0, ["c", "d"]), ("q", 7.0, ["a"])])
    past = moments(shop, parts=2, max_items=50, max_positives=10_000, rng=RNG)
    np.testing.assert_array_equal(past.users, [0, 0, 1])
    np.testing.assert_array_equal(
        past.positives.toarray() > 0, [[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]]
    )
    np.testing.assert_allclose(
        past.histories.toarray(), [[0, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 0]], rtol=1e-5
    )


def test_traits_are_told_by_name_and_value() -> None:
    profile = Profile(
        customer_group="trade", traits={"newsletter": True, "style": "modern", "age": 37.0}
    )
    assert traits_of(profile, "NL") == [
        "country NL",
        "group trade",
        "newsletter true",
        "style modern",
    ]


def test_the_country_of_the_moment_is_a_trait(read: Reader) -> None:
    shop = read(
        [(f"{c}{n}", 5.0, [c]) for c in "nd" for n in range(8)],
        profiles={
            f"u:{c}{n}": Profile(user_id=f"{c}{n}", country={"n": "NL", "d": "DE"}[c])
            for c in "nd"
            for n in range(8)
        },
    )
    model = fit_hybrid(
        shop, HybridConfig(embedding_size=4, epochs=30), rng=np.random.default_rng(0)
    )
    for country, letter in (("NL", "n"), ("DE", "d")):
        query = Query(now=shop.as_of, context=Context(country=country))
        assert first_letters(shop, model, query, 1) == {letter}


FEATURE_DIGEST = """
from hashlib import sha256
from recsys.models.factorisation.hybrid_features import item_features
from recsys.models.testing.case import contract_shop
arrays = [part for m in item_features(contract_shop().data) for part in (m.indices, m.data)]
digest = sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
"""


def test_another_process_sees_the_same_features_in_the_same_order() -> None:
    """The order of a set of strings differs from process to process; sums follow the order."""
    here: dict[str, str] = {}
    exec(FEATURE_DIGEST, here)
    there = subprocess.run(
        [sys.executable, "-c", f"{FEATURE_DIGEST}print(digest)"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here["digest"]
