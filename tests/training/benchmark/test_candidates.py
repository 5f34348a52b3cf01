"""The starting points of every task fit the families, and the search stays in their spaces."""

from __future__ import annotations

import pytest

from recsys.models.registry import MODELS
from recsys.models.search_space import Choice, Range
from training.benchmark.candidates import INTERACTION_HALF_LIFE, Candidate, FamilySearch
from training.benchmark.starting_points import SEARCHES, searches_of
from training.benchmark.task_data import SetSize

SMALL = SetSize(100, 100, 1000, attributes=True, pairs=10_000)
EVERY_SEARCH = [(task, search) for task in SEARCHES for search in searches_of(task, SMALL)]


@pytest.mark.parametrize(("task", "search"), EVERY_SEARCH, ids=lambda value: str(value)[:40])
def test_every_start_and_every_adjacent_value_is_a_valid_configuration(
    task: str, search: FamilySearch
) -> None:
    config, first = MODELS[search.family].config, search.first()
    config.model_validate(first.family_settings)
    for name in search.searched:
        n_values = 0
        for direction in (1, -1):
            candidate = first
            while (value := _adjacent(search, candidate, name, direction)) is not STOP:
                candidate = candidate.changed(name, value)
                config.model_validate(candidate.family_settings)
                n_values += 1
        assert 1 <= n_values <= 8


@pytest.mark.parametrize("task", SEARCHES)
def test_every_task_has_rows_of_distinct_names_and_popularity_among_them(task: str) -> None:
    names = [search.name for search in SEARCHES[task]]
    assert len(set(names)) == len(names)
    assert "popularity" in names


def test_a_set_with_many_items_is_spared_ease_and_the_unpruned_walk() -> None:
    small = SetSize(1000, 1000, 10_000, pairs=200_000)
    large = SetSize(900_000, 300_000, 9_000_000, pairs=900_000_000)
    names = {search.name for search in searches_of("top-n", small)}
    assert {"P3", "RP3beta"} <= names
    names = {search.name for search in searches_of("top-n", large)}
    assert "RP3beta" in names
    assert not {"P3", "ease", "iALS"} & names


def test_content_is_compared_only_where_items_are_described() -> None:
    without, described = (
        {search.family for search in searches_of("leave-one-out", SetSize(10, 10, 100, attributes))}
        for attributes in (False, True)
    )
    assert "content" in described - without


def test_the_half_life_of_interactions_is_no_setting_of_the_family() -> None:
    candidate = Candidate("als", {"reg": 1.0, INTERACTION_HALF_LIFE: 5.0})
    assert candidate.family_settings == {"reg": 1.0}
    assert candidate.half_life == 5.0


def test_no_limit_comes_after_the_largest_number() -> None:
    search = FamilySearch("a", "random_walk", task_space={"x": Choice((None, 7, 30))})
    assert search.adjacent("x", 30, 1) is None
    assert search.adjacent("x", None, -1) == 30
    assert search.adjacent("x", 10, -1) == 7
    with pytest.raises(ValueError, match="no neighbour"):
        search.adjacent("x", None, 1)


def test_a_range_is_walked_in_steps_of_a_sixth() -> None:
    search = FamilySearch(
        "a", "random_walk", task_space={"x": Range(1, 1e6), "y": Range(0, 6, log=False)}
    )
    assert search.adjacent("x", 1.0, 1) == 10.0
    assert search.adjacent("x", 20.0, 1) == 100.0
    assert search.adjacent("x", 8.0, 1) == 100.0, "10 is less than half a step away"
    assert search.adjacent("y", 3.0, -1) == 2.0
    with pytest.raises(ValueError, match="no neighbour"):
        search.adjacent("y", 0.0, -1)


STOP = object()


def _adjacent(search: FamilySearch, candidate: Candidate, name: str, direction: int) -> object:
    try:
        return search.adjacent(name, candidate.value(name), direction)
    except ValueError:
        return STOP
