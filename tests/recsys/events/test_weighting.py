"""`Weighting`: one formula, in arrays and in SQL."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys.events.schema import EVENT_KINDS, KIND_NUMBER
from recsys.events.weighting import SECONDS_PER_DAY, Weighting, half_life_decay

NOW = 1_800_000_000.0


def test_a_weight_halves_with_each_half_life() -> None:
    weighting = Weighting(kind_weights={"purchase": 4.0}, half_life_days=10)
    times = NOW - np.array([0, 10, 20]) * SECONDS_PER_DAY
    kinds = np.full(3, KIND_NUMBER["purchase"], np.int8)
    assert weighting.weights(kinds, times, now=NOW).tolist() == [4.0, 2.0, 1.0]


def test_kinds_that_are_not_named_weigh_nothing() -> None:
    weighting = Weighting(kind_weights={"purchase": 4.0})
    kinds = np.array([KIND_NUMBER["search"], KIND_NUMBER["view_item"]], np.int8)
    assert weighting.weights(kinds, np.full(2, NOW), now=NOW).tolist() == [0.0, 0.0]


def test_an_event_after_now_counts_as_if_it_had_just_happened() -> None:
    assert half_life_decay(np.array([NOW + 1e6]), now=NOW, half_life_days=1).tolist() == [1.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind_weights": {"purchse": 5.0}}, "no kind of event"),
        ({"kind_weights": {"purchase": float("nan")}}, "finite"),
        ({"half_life_days": 0}, "greater than 0"),
        ({"half_life_days": float("inf")}, "finite"),
        ({"halflife": 3}, "Extra inputs"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Weighting.model_validate(settings)


@settings(deadline=None, max_examples=25)
@given(
    kinds=st.lists(st.sampled_from(EVENT_KINDS), min_size=1, max_size=20),
    ages=st.lists(st.floats(-5, 3000), min_size=20, max_size=20),
    half_life=st.floats(0.1, 1000),
)
def test_sql_and_arrays_give_the_same_weight(
    kinds: list[str], ages: list[float], half_life: float
) -> None:
    weighting = Weighting(half_life_days=half_life)
    ages = ages[: len(kinds)]
    numbers = np.array([KIND_NUMBER[kind] for kind in kinds], np.int8)
    times = NOW - np.array(ages) * SECONDS_PER_DAY
    ours = weighting.weights(numbers, times, now=NOW)
    rows = ", ".join(f"('{kind}', {age!r}::DOUBLE)" for kind, age in zip(kinds, ages, strict=True))
    with duckdb.connect() as connection:
        sql = f"SELECT {weighting.sql('kind', 'age')} FROM (VALUES {rows}) AS t(kind, age)"
        theirs = [weight for (weight,) in connection.execute(sql).fetchall()]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-30)
