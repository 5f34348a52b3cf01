"""Blends are chosen on validation days, and only where these can tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from recsys.bundle.placements import Placement
from recsys.dataset.splitting import hold_out
from training.config import BlendSearch, Recipe
from training.fitting.blend_weights import Period, choose_blend
from training.fitting.build import build
from training.run_context import Provenance, RunContext

BLEND = {"session": 0.2, "popularity": 0.6, "repeat": 0.1, "random_walk": 0.1}
PLACEMENT = Placement(name="for_you", blend=BLEND)
SEARCH = BlendSearch(sweeps=3)
CONTEXT = RunContext(Provenance("v", "r", "d"))


@pytest.fixture(scope="module")
def period(small_shop) -> Period:
    cut = small_shop.end - timedelta(days=20)
    data = small_shop.as_of(cut)
    recipe = Recipe(
        models={name: {} for name in [*BLEND, "popularity_by_country"]}, placements=(PLACEMENT,)
    )
    bundle = build(data, recipe, context=CONTEXT)
    held_out = hold_out(small_shop.log, cut=cut, until=cut + timedelta(days=10), seed=1)
    return Period(bundle, data, held_out)


def chosen(period: Period, placement: Placement = PLACEMENT) -> dict[str, float]:
    rng = np.random.default_rng(1)
    return choose_blend([period], placement, SEARCH, n=20, rng=rng, context=CONTEXT).blend


def test_the_weights_sum_to_one_and_move_from_a_bad_start(period: Period) -> None:
    blend = chosen(period)
    assert sum(blend.values()) == pytest.approx(1.0, abs=1e-3)
    assert blend["popularity"] < 0.5
    assert blend["repeat"] + blend["random_walk"] > 0.3


def test_a_model_that_validation_cannot_measure_keeps_its_share(period: Period) -> None:
    assert chosen(period)["session"] == pytest.approx(0.2)


def in_a_visit(period: Period, persons: int) -> Period:
    """The period with the last event of some customers a minute before the cut."""
    data, cut = period.data, period.held_out.cut
    users = [data.users.number(person) for person in period.held_out.persons]
    known = [user for user in users if user is not None][:persons]
    times = data.timeline.times.copy()
    times[data.timeline.starts[np.array(known) + 1] - 1] = cut.timestamp() - 60.0
    return replace(period, data=replace(data, timeline=replace(data.timeline, times=times)))


def test_a_model_that_scores_for_hardly_anybody_keeps_its_share(period: Period) -> None:
    assert chosen(in_a_visit(period, 1))["session"] == pytest.approx(0.2)
    assert chosen(in_a_visit(period, 100))["session"] != pytest.approx(0.2)


def test_the_search_gives_the_same_weights_again(period: Period) -> None:
    assert chosen(period) == chosen(period)


def test_without_periods_the_placement_stands() -> None:
    rng = np.random.default_rng(1)
    assert choose_blend([], PLACEMENT, SEARCH, n=20, rng=rng, context=CONTEXT) == PLACEMENT
