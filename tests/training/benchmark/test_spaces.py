"""The declared spaces fit the families that they name."""

from __future__ import annotations

import pytest

from recsys.models.registry import MODELS
from training.benchmark.spaces import HALF_LIFE, SPACES, Candidate, Size, Space, spaces_of

EVERY_SPACE = [(task, space) for task, spaces in SPACES.items() for space in spaces]


@pytest.mark.parametrize(("task", "space"), EVERY_SPACE, ids=lambda value: str(value)[:40])
def test_every_start_and_every_step_is_a_valid_configuration(task: str, space: Space) -> None:
    config = MODELS[space.family].config
    start = Candidate(space.family, space.start)
    config.model_validate(start.own)
    for name, values in space.steps.items():
        for value in values:
            config.model_validate(start.changed(name, value).own)


@pytest.mark.parametrize("task", SPACES)
def test_every_task_has_rows_of_distinct_names_and_popularity_among_them(task: str) -> None:
    names = [space.name for space in SPACES[task]]
    assert len(set(names)) == len(names)
    assert "popularity" in names


def test_a_set_with_many_items_is_spared_ease_and_the_unpruned_walk() -> None:
    small = {space.name for space in spaces_of("top-n", Size(1000, 1000, 10_000, pairs=200_000))}
    large = {
        space.name
        for space in spaces_of("top-n", Size(900_000, 300_000, 9_000_000, pairs=900_000_000))
    }
    assert {"P3", "RP3beta"} <= small
    assert "RP3beta" in large
    assert not {"P3", "ease", "iALS"} & large


def test_content_is_asked_only_where_items_are_described() -> None:
    without = {space.family for space in spaces_of("leave-one-out", Size(10, 10, 100))}
    described = {space.family for space in spaces_of("leave-one-out", Size(10, 10, 100, True))}
    assert "content" in described - without


def test_the_half_life_of_acts_is_no_setting_of_the_family() -> None:
    contender = Candidate("als", {"reg": 1.0, HALF_LIFE: 5.0})
    assert contender.own == {"reg": 1.0}
    assert contender.half_life == 5.0
