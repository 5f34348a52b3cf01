"""The ranker is taught by earlier periods alone, and serves only where it wins."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from recsys.bundle.placements import Placement
from recsys.dataset.splitting import hold_out
from recsys.errors import LeakFromFuture
from recsys.evaluation.report import EvaluationRules
from recsys.ranking.features import COLUMNS
from recsys.ranking.ranker import column_names
from training.config import BlendSearch, RankerConfig, Recipe
from training.fitting.blend_weights import Period
from training.fitting.build import build
from training.fitting.fit_ranker import decide_ranker, fit_ranker, importance
from training.fitting.ranker_labels import RankerTrainingSets, label_cuts, labelled_table
from training.fitting.source import TrainingSource
from training.fitting.trial import TimeSplits, try_recipe
from training.run_context import Provenance, RunContext

BLEND = {"session": 0.1, "repeat": 0.4, "random_walk": 0.3, "popularity": 0.2}
PLACEMENT = Placement(name="for_you", blend=BLEND)
CONFIG = RankerConfig(
    candidates=150,
    lesson_candidates=150,
    periods=4,
    period_days=7,
    stride_days=5,
    least_days=10,
    trees=25,
    leaves=7,
    least_rows=20,
    negatives=0.5,
)
RECIPE = Recipe(
    models={name: {} for name in [*BLEND, "popularity_by_country"]},
    placements=(PLACEMENT,),
    blend_search=BlendSearch(sweeps=0),
    ranker=CONFIG,
)
CONTEXT = RunContext(Provenance("v", "r", "d"), seed=1)
RULES = EvaluationRules(resamples=200)


@pytest.fixture(scope="module")
def source(small_shop) -> TrainingSource:
    return TrainingSource(
        log=small_shop.log,
        items=tuple(small_shop.shop.items),
        profiles={},
        denied=frozenset(),
        oldest=small_shop.end - timedelta(days=60),
        newest=small_shop.end,
        events=1,
        fingerprint="f",
    )


def period_at(source: TrainingSource, cut: datetime, *, days: float = 7) -> Period:
    data = source.as_of(cut, RECIPE)
    held_out = hold_out(source.log, cut=cut, until=cut + timedelta(days=days), seed=1)
    return Period(build(data, RECIPE, context=CONTEXT), data, held_out)


@pytest.fixture(scope="module")
def period(source: TrainingSource) -> Period:
    return period_at(source, source.newest - timedelta(days=20))


def teach(source: TrainingSource, until: datetime, placement: Placement = PLACEMENT):
    training_sets = RankerTrainingSets(source, RECIPE, CONFIG, placement, anchor=until)
    ranker = fit_ranker(training_sets.before(until, context=CONTEXT), CONFIG, seed=RECIPE.seed)
    assert ranker is not None
    return ranker


@pytest.fixture(scope="module")
def taught(source: TrainingSource, period: Period):
    return teach(source, period.held_out.cut)


def test_every_period_of_labels_ends_before_the_cut() -> None:
    until, oldest = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
    cuts = label_cuts(until, oldest, CONFIG, anchor=until)
    assert cuts == (
        datetime(2026, 5, 25, tzinfo=UTC),
        datetime(2026, 5, 20, tzinfo=UTC),
        datetime(2026, 5, 15, tzinfo=UTC),
    )
    assert all(cut + timedelta(days=CONFIG.period_days) <= until for cut in cuts)
    assert label_cuts(until, until - timedelta(days=18), CONFIG, anchor=until) == cuts[:1]
    assert label_cuts(until, until, CONFIG, anchor=until) == ()


def test_what_is_taught_later_looks_at_the_same_periods_again() -> None:
    test, oldest = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
    day = timedelta(days=1)
    known = set(label_cuts(test, oldest, CONFIG, anchor=test))
    later = label_cuts(test + 12 * day, oldest, CONFIG, anchor=test)
    assert later[0] == test + 3 * day
    assert known & set(later) == set(later[2:])
    whole = CONFIG.model_copy(update={"period_days": 10, "stride_days": 10, "periods": 2})
    assert label_cuts(test + 9 * day, oldest, whole, anchor=test) == (test, test - 10 * day)
    assert label_cuts(test + 8 * day, oldest, whole, anchor=test)[0] == test - 10 * day


def test_data_that_reach_into_the_period_are_refused(
    source: TrainingSource, period: Period
) -> None:
    leaking = replace(period, data=source.as_of(source.newest, RECIPE))
    with pytest.raises(LeakFromFuture):
        labelled_table(leaking, PLACEMENT, CONFIG, rng=np.random.default_rng(1))


def test_what_is_taught_does_not_depend_on_what_comes_after(
    source: TrainingSource, small_shop, taught, period: Period
) -> None:
    """A source that ends at the cut teaches the same trees."""
    shorter = replace(source, newest=period.held_out.cut)
    again = teach(shorter, period.held_out.cut)
    assert again.texts == taught.texts


def test_all_that_was_taken_is_kept_and_a_share_of_the_rest(period: Period) -> None:
    whole = labelled_table(
        period,
        PLACEMENT,
        CONFIG.model_copy(update={"negatives": 1.0}),
        rng=np.random.default_rng(1),
    )
    some = labelled_table(period, PLACEMENT, CONFIG, rng=np.random.default_rng(1))
    assert some.taken.sum() == whole.taken.sum() > 50
    rest, kept = (whole.taken == 0).sum(), (some.taken == 0).sum()
    assert kept / rest == pytest.approx(CONFIG.negatives, abs=0.05)
    assert some.sizes.sum() == len(some.taken) == len(some.matrix) == len(some.weights)
    assert some.matrix.shape[1] == len(column_names(tuple(BLEND)))


def test_bulk_buyers_weigh_less(period: Period) -> None:
    table = labelled_table(
        period,
        PLACEMENT,
        CONFIG.model_copy(update={"bulk_discount": 0.5}),
        rng=np.random.default_rng(1),
    )
    groups = np.repeat(np.arange(len(table.sizes)), table.sizes)
    taken = np.bincount(groups, table.taken)
    weight = table.weights[np.cumsum(table.sizes) - 1]
    assert np.corrcoef(taken, weight)[0, 1] < -0.5
    assert weight.max() <= 1.0


def test_labels_are_what_was_taken_after_the_cut(period: Period) -> None:
    """Bought before and bought after go together here, as they do in any shop with repeats."""
    table = labelled_table(period, PLACEMENT, CONFIG, rng=np.random.default_rng(1))
    bought_before = table.matrix[:, COLUMNS.index("purchases")] > 0
    assert table.taken[bought_before].mean() > table.taken[~bought_before].mean()


def test_a_model_without_an_opinion_at_any_cut_is_not_the_rankers(taught) -> None:
    assert set(taught.models) == {"repeat", "random_walk", "popularity"}


def test_a_model_that_scores_for_hardly_anybody_is_not_the_rankers(period: Period) -> None:
    table = labelled_table(period, PLACEMENT, CONFIG, rng=np.random.default_rng(1))
    column = column_names(table.models).index("score of session")
    assert table.scored_customers()["session"] == 0
    for customers, expected in ((1, False), (len(table.sizes), True)):
        matrix = table.matrix.copy()
        matrix[: table.sizes[:customers].sum(), column] = 0.5
        scored = replace(table, matrix=matrix)
        assert scored.scored_customers()["session"] == customers
        ranker = fit_ranker([scored], CONFIG, seed=1)
        assert ranker is not None
        assert ("session" in ranker.models) is expected


def test_the_same_tables_and_seed_give_the_same_trees(period: Period) -> None:
    table = labelled_table(period, PLACEMENT, CONFIG, rng=np.random.default_rng(1))
    first, again, other = (fit_ranker([table], CONFIG, seed=seed) for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.texts == again.texts != other.texts


def test_too_few_customers_teach_nothing(period: Period) -> None:
    few = replace(
        period,
        held_out=replace(
            period.held_out,
            persons=period.held_out.persons[:5],
            truth=period.held_out.truth[:5],
        ),
    )
    table = labelled_table(few, PLACEMENT, CONFIG, rng=np.random.default_rng(1))
    assert fit_ranker([table], CONFIG, seed=1) is None
    assert fit_ranker([], CONFIG, seed=1) is None


def test_importance_adds_up_to_one(taught) -> None:
    shares = importance(taught)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_a_ranker_beats_a_bad_blend_and_serves(source: TrainingSource, period: Period) -> None:
    bad = PLACEMENT.with_blend({**BLEND, "popularity": 50.0})
    ranker = teach(source, period.held_out.cut, bad)
    decision = decide_ranker(ranker, period, bad, RULES, seed=1)
    assert decision.wins
    assert decision.gain.low > 0
    assert "the ranker serves" in decision.reason


def test_a_ranker_that_learnt_the_opposite_does_not_serve(period: Period) -> None:
    table = labelled_table(period, PLACEMENT, CONFIG, rng=np.random.default_rng(1))
    ranker = fit_ranker([replace(table, taken=1 - table.taken)], CONFIG, seed=1)
    assert ranker is not None
    decision = decide_ranker(ranker, period, PLACEMENT, RULES, seed=1)
    assert not decision.wins
    assert "the plain blend serves" in decision.reason


def test_a_trial_serves_the_ranker_that_won(source: TrainingSource) -> None:
    """The recipe's blend is mostly popularity, so that there is something to win."""
    bad = PLACEMENT.with_blend({**BLEND, "popularity": 50.0})
    recipe = RECIPE.model_copy(update={"placements": (bad,)})
    test = source.newest - timedelta(days=10)
    time_splits = TimeSplits((test - timedelta(days=20),), test, source.newest)
    with_ranker = try_recipe(source, time_splits, recipe, RULES, context=CONTEXT)
    plain = try_recipe(
        source,
        time_splits,
        recipe.model_copy(update={"ranker": None}),
        RULES,
        context=CONTEXT,
    )
    (decision,) = with_ranker.ranker_decisions
    assert decision.wins
    assert plain.ranker_decisions == ()
    measured, before = (t.report.estimates["recall_at_20"].value for t in (with_ranker, plain))
    assert measured > before
