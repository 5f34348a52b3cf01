"""Session k-NN against a slow reference, and what a visitor would expect of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError, InsufficientData
from recsys.events.pseudonyms import pseudonyms_of
from recsys.events.weighting import Weighting
from recsys.models.sessions.session_index import SessionIndex, index_sessions
from recsys.models.sessions.session_knn import (
    SessionKnnConfig,
    SessionKnnModel,
    clicks_of,
    fit_session_knn,
)
from recsys.query.history import History
from recsys.query.query import Query

Reader = Callable[..., TrainingData]
RNG = np.random.default_rng(0)
LOOKS = Weighting(kind_weights={"view_item": 1.0, "purchase": 1.0}, half_life_days=1e9)
MINUTE = 1 / 1440


@pytest.fixture(scope="module")
def browsing(read: Reader) -> TrainingData:
    """60 visits of 1 to 8 clicks on 15 items by 25 people, items repeated, popular ones often."""
    rng = np.random.default_rng(3)
    popularity = 1.0 / np.arange(1, 16)
    clicks = []
    for visit in range(60):
        begun = float(rng.uniform(1, 60))
        for click in range(int(rng.integers(1, 9))):
            item = int(rng.choice(15, p=popularity / popularity.sum()))
            clicks.append((f"p{visit % 25:02}", begun - click * MINUTE, [f"i{item:02}"]))
    return read(clicks, kind="view_item", weighting=LOOKS)


def visit_of(data: TrainingData, items: Sequence[str], *, days_ago: float = 0.0) -> Query:
    """Somebody who clicks these items now."""
    numbers = data.items.numbers(items)
    now = data.as_of - timedelta(days=days_ago)
    kinds = np.full(len(numbers), data.timeline.kinds[0], np.int8)
    times = now.timestamp() - 60.0 * np.arange(len(numbers))[::-1]
    return Query(now=now, session=History(numbers, kinds, times, np.ones(len(numbers), np.float32)))


def reference(index: SessionIndex, config: SessionKnnConfig, query: Query) -> dict[int, float]:
    """The formula of `SessionKnnModel`, visit by visit."""
    clicks = clicks_of(query.session)[-config.last_items :].tolist()[::-1]
    backs = {item: clicks.index(item) for item in clicks}

    def position(back: int) -> float:
        rate = config.position_rate
        return {
            "linear": max(1 - rate * back / config.last_items, 0.0),
            "exponential": math.exp(-rate * back),
            "reciprocal": (1 + back) ** -rate,
        }[config.position_decay]

    rarity = index.rarity.tolist()
    sharing: list[tuple[float, int, list[int]]] = []
    for visit in range(len(index.times)):
        of_visit = index.items[index.starts[visit] : index.starts[visit + 1]].tolist()
        shared = set(of_visit) & set(backs)
        if shared:
            similarity = sum(
                position(backs[i]) * rarity[i] ** config.matching_rarity for i in shared
            )
            age = (query.now.timestamp() - index.times[visit]) / 86_400
            similarity *= 2 ** (-age / config.half_life_days)
            similarity /= len(of_visit) ** config.length_penalty
            sharing.append((similarity, visit, of_visit))
    newest = sorted(sharing, key=lambda pair: -pair[1])[: config.recent]
    scores: dict[int, float] = {}
    for similarity, _, of_visit in sorted(newest, reverse=True)[: config.neighbours]:
        for item in set(of_visit):
            near = max(
                math.exp(-config.match_decay * backs[match] - abs(there - here) / config.reach)
                * (config.backwards if there < here else 1.0)
                for there, other in enumerate(of_visit)
                if other == item
                for here, match in enumerate(of_visit)
                if match in backs
            )
            scores[item] = scores.get(item, 0.0) + (
                similarity**config.sharpness * near * rarity[item] ** config.scoring_rarity
            )
    for item in backs:
        if item in scores:
            scores[item] *= config.revisit
    del scores[clicks[0]]
    return {item: score for item, score in scores.items() if score > 0}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"recent": 9, "neighbours": 4, "position_decay": "linear", "position_rate": 1.0},
        {"neighbours": 6, "position_decay": "exponential", "length_penalty": 0.5, "backwards": 0.4},
        {"last_items": 2, "reach": 1e9, "half_life_days": 5.0, "revisit": 0.0, "sharpness": 1.0},
    ],
)
def test_the_kernels_give_the_formula(
    browsing: TrainingData, settings: dict[str, float | str]
) -> None:
    config = SessionKnnConfig.model_validate(settings)
    model = fit_session_knn(browsing, config, rng=RNG)
    rng = np.random.default_rng(8)
    for length in (1, 2, 3, 6):
        items = [f"i{n:02}" for n in rng.choice(15, length)]
        query = visit_of(browsing, items)
        expected = reference(model.index, config, query)
        scores = model.condition([query]).score([np.arange(15, dtype=np.int32)])[0]
        results = {int(n): float(scores[n]) for n in np.flatnonzero(np.isfinite(scores))}
        assert results == pytest.approx(expected, rel=1e-4)


def test_explanations_divide_each_neighbour_among_what_it_shares(browsing: TrainingData) -> None:
    config = SessionKnnConfig()
    model = fit_session_knn(browsing, config, rng=RNG)
    query = visit_of(browsing, ["i03", "i07", "i01"])
    scorer = model.condition([query])
    best = int(scorer.retrieve(1, np.ones(15, np.bool_))[0].numbers[0])
    contributions = scorer.explain(0, best)
    assert sum(contribution.share for contribution in contributions) == pytest.approx(1.0)
    assert {c.item for c in contributions} <= set(browsing.items.numbers(["i03", "i07", "i01"]))


def test_what_was_clicked_next_beats_what_was_clicked_long_after(read: Reader) -> None:
    data = read(
        [
            (f"p{person}", 5.0 + person - click * MINUTE, [item])
            for person in range(6)
            for click, item in enumerate(["phone", "case", "charger", "book", "tea"])
        ],
        kind="view_item",
        weighting=LOOKS,
    )
    model = fit_session_knn(data, SessionKnnConfig(), rng=RNG)
    asked = data.items.numbers(["case", "charger", "book", "tea"])
    scores = model.condition([visit_of(data, ["phone"])]).score([asked])[0]
    assert (np.diff(scores) < 0).all()


def test_newer_visits_count_more(read: Reader) -> None:
    data = read(
        [
            (person, days - click * MINUTE, [item])
            for person, days, follower in (("old", 80.0, "coat"), ("new", 2.0, "shorts"))
            for click, item in enumerate(["shirt", follower])
        ],
        kind="view_item",
        weighting=LOOKS,
    )
    model = fit_session_knn(data, SessionKnnConfig(half_life_days=20), rng=RNG)
    coat, shorts = model.condition([visit_of(data, ["shirt"])]).score(
        [data.items.numbers(["coat", "shorts"])]
    )[0]
    assert coat * 3 < shorts


def test_the_item_looked_at_now_is_not_recommended_but_an_earlier_one_may_be(
    browsing: TrainingData,
) -> None:
    model = fit_session_knn(browsing, SessionKnnConfig(), rng=RNG)
    asked = browsing.items.numbers(["i01", "i02"])
    scores = model.condition([visit_of(browsing, ["i01", "i02"])]).score([asked])[0]
    assert np.isfinite(scores[0])
    assert np.isnan(scores[1])


def test_events_that_weigh_nothing_are_no_clicks(browsing: TrainingData) -> None:
    model = fit_session_knn(browsing, SessionKnnConfig(), rng=RNG)
    query = visit_of(browsing, ["i01", "i02"])
    session = replace(query.session, weights=np.array([1.0, 0.0], np.float32))
    silenced = model.condition([replace(query, session=session)])
    alone = model.condition([visit_of(browsing, ["i01"])])
    asked = [np.arange(15, dtype=np.int32)]
    np.testing.assert_array_equal(silenced.score(asked)[0], alone.score(asked)[0])


def test_the_index_keeps_the_newest_and_is_capped(browsing: TrainingData) -> None:
    whole = index_sessions(browsing, max_visits=1000, max_length=50, visits_per_item=1000)
    small = index_sessions(browsing, max_visits=12, max_length=3, visits_per_item=2)
    assert (np.diff(whole.times) >= 0).all()
    assert (np.diff(whole.starts) >= 2).all()
    np.testing.assert_array_equal(small.times, whole.times[-12:])
    for visit in range(12):
        kept = small.items[small.starts[visit] : small.starts[visit + 1]]
        first = whole.starts[len(whole.times) - 12 + visit]
        last = whole.starts[len(whole.times) - 12 + visit + 1]
        np.testing.assert_array_equal(kept, whole.items[first:last][-3:])
    for item in range(15):
        results = small.item_visits[small.item_starts[item] : small.item_starts[item + 1]]
        with_it = [
            visit
            for visit in range(12)
            if item in small.items[small.starts[visit] : small.starts[visit + 1]]
        ]
        assert results.tolist() == with_it[::-1][:2]


def test_one_visit_per_person_stays_out_after_erasure(browsing: TrainingData) -> None:
    model = fit_session_knn(browsing, SessionKnnConfig(), rng=RNG)
    erased = pseudonyms_of(["u:p03"])
    left = model.drop_users(erased)
    kept = model.index.owners != erased[0]
    assert 0 < (~kept).sum() < len(kept)
    np.testing.assert_array_equal(left.index.times, model.index.times[kept])
    again = fit_session_knn(browsing, SessionKnnConfig(), rng=RNG)
    assert isinstance(SessionKnnModel.from_arrays(left.arrays()), SessionKnnModel)
    np.testing.assert_array_equal(again.index.owners, model.index.owners)


def test_a_timeline_without_visits_is_refused(browsing: TrainingData) -> None:
    timeline = replace(browsing.timeline, sessions=np.empty(0, np.int64))
    with pytest.raises(InsufficientData, match="visits"):
        fit_session_knn(replace(browsing, timeline=timeline), SessionKnnConfig(), rng=RNG)


def test_damaged_postings_are_named(browsing: TrainingData) -> None:
    arrays = dict(fit_session_knn(browsing, SessionKnnConfig(), rng=RNG).arrays())
    with pytest.raises(BundleError, match="item_visits"):
        SessionKnnModel.from_arrays({**arrays, "item_visits": arrays["item_visits"] + 1000})
    with pytest.raises(BundleError, match="items"):
        SessionKnnModel.from_arrays({**arrays, "starts": arrays["starts"][:-1]})
