"""What every model family promises; a promise that does not apply is declared so by the family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from recsys.dataset.training_data import TrainingData
from recsys.models.popularity.popularity import PopularityModel
from recsys.models.protocol import Model, ScoredItems, Scorer
from recsys.models.registry import MODELS
from recsys.models.testing import Case, Promise, contract, fitted_case, promises, promises_of
from recsys.models.testing.case import N_USERS
from recsys.query.query import Query

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "als": {"embedding_size": 12},
    "graph_filter": {"frequencies": 8},
    "ials": {"embedding_size": 12, "block": 5},
    "bpr": {"embedding_size": 8},
    "hybrid": {"embedding_size": 8, "epochs": 5},
    "bought_together": {"min_customers": 1},
    "newcomers": {"max_users": 14},
}
"""What suits a shop of 48 items."""

STORE_USERS = {"session_knn", "tifu_knn", "up_cf"}
DRAW_AT_RANDOM = {"als", "bpr", "graph_filter", "hybrid", "ials"}
NEED_NOTHING = {"popularity", "trending"}
SCORE_NO_SEEDS = {
    "bought_together", "content", "ease", "item_item", "newcomers", "random_walk", "session",
    "session_knn",
}  # fmt: skip
FAMILIES = set(MODELS)
APPLIES_TO = {
    "an_erased_user_leaves_no_row": STORE_USERS,
    "no_user_is_stored": FAMILIES - STORE_USERS,
    "an_opinion_needs_what_is_declared": FAMILIES - NEED_NOTHING,
    "without_its_signals_there_is_no_opinion": FAMILIES - NEED_NOTHING,
    "every_query_gets_the_same_opinion": NEED_NOTHING,
    "seeds_may_be_scored": FAMILIES - SCORE_NO_SEEDS,
    "seeds_are_not_recommended": SCORE_NO_SEEDS,
    "another_seed_gives_other_arrays": DRAW_AT_RANDOM,
    "the_seed_changes_nothing": FAMILIES - DRAW_AT_RANDOM,
    "the_order_of_ids_changes_nothing": FAMILIES - DRAW_AT_RANDOM,
}
"""Promise → the families to which it applies; every other promise applies to all."""


@cache
def case_of(name: str) -> Case:
    return fitted_case(MODELS[name], SETTINGS.get(name, {}))


@pytest.mark.parametrize(
    ("name", "promise"),
    [
        pytest.param(name, promise, id=f"{name}-{promise.__name__}")
        for name, family in MODELS.items()
        for promise in promises_of(family)
    ],
)
def test_a_family_keeps_its_promises(name: str, promise: Promise) -> None:
    promise(case_of(name))


@pytest.mark.parametrize("promise", promises.PROMISES, ids=lambda promise: promise.__name__)
def test_a_promise_applies_to_every_family_but_those_that_declare_otherwise(
    promise: Promise,
) -> None:
    applies = {name for name, family in MODELS.items() if promise in promises_of(family)}
    assert applies == APPLIES_TO.get(promise.__name__, FAMILIES)


test_the_suite_runs_in_one_line = contract(MODELS["repeat"])


class Wrapped:
    """A model that does what another does, for a test to break in one respect."""

    stores_user_data = False

    def __init__(self, original: Model) -> None:
        self.original = original

    def condition(self, queries: Sequence[Query]) -> Any:
        return self.original.condition(queries)

    def arrays(self) -> Mapping[str, np.ndarray]:
        return self.original.arrays()


class WrongScorer:
    """Gives ineligible items, scores in reverse order, infinite where unknown, and no evidence."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def retrieve(self, n: int, eligible: np.ndarray) -> list[ScoredItems]:
        return self.scorer.retrieve(n, np.ones_like(eligible))

    def score(self, items: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.nan_to_num(scores[::-1], nan=np.inf) for scores in self.scorer.score(items)]

    def explain(self, row: int, item: int) -> tuple[()]:
        return ()


def wrapped(name: str, **members: Any) -> Case:
    """The case of a family whose model class has other members."""
    case = case_of(name)
    members.setdefault("from_arrays", classmethod(lambda cls, _arrays: cls(case.model)))
    broken = type("Broken", (Wrapped,), members)
    return replace(case, family=replace(case.family, model=broken), model=broken(case.model))


def wrong_scorer(name: str) -> Case:
    """The case of a family with a scorer that does everything wrong."""
    return wrapped(name, condition=lambda self, asked: WrongScorer(self.original.condition(asked)))


def declared(name: str, **changes: Any) -> Case:
    """The case of a family that declares something else of itself."""
    case = case_of(name)
    return replace(case, family=replace(case.family, **changes))


def changing_arrays() -> Case:
    """A model whose arrays differ each time that they are asked for."""
    calls = count()
    return wrapped("repeat", arrays=lambda _self: {"calls": np.array(next(calls))})


def from_the_names(data: TrainingData, _config: object, *, rng: object) -> PopularityModel:
    """A fit that looks at the ids."""
    del rng
    return PopularityModel.of(np.array([len(id) for id in data.items.ids()], np.float32))


class AnySetting(BaseModel):
    """A config that takes every setting."""


BROKEN: Mapping[Promise, Callable[[], Case]] = {
    promises.the_declaration_is_complete: lambda: declared("repeat", labels={"nl": "eerder"}),
    promises.a_misspelt_setting_is_refused: lambda: declared("repeat", config=AnySetting),
    promises.a_model_follows_the_protocol: lambda: declared("repeat", model=PopularityModel),
    promises.an_erased_user_leaves_no_row: lambda: wrapped(
        "up_cf", stores_user_data=True, drop_users=lambda self, _users: self
    ),
    promises.no_user_is_stored: lambda: wrapped(
        "repeat", arrays=lambda _self: {"rows": np.zeros((N_USERS, 2))}
    ),
    promises.a_batch_gives_what_its_single_queries_give: lambda: wrapped(
        "repeat", condition=lambda self, asked: self.original.condition(asked[:1] * len(asked))
    ),
    promises.what_is_retrieved_is_the_best_of_what_is_scored: lambda: wrong_scorer("popularity"),
    promises.scores_follow_the_items_asked_for: lambda: wrong_scorer("popularity"),
    promises.ineligible_items_are_never_retrieved: lambda: wrong_scorer("popularity"),
    promises.an_opinion_needs_what_is_declared: lambda: declared(
        "repeat", needs=frozenset({"history", "country"})
    ),
    promises.without_its_signals_there_is_no_opinion: lambda: declared(
        "popularity", needs=frozenset({"history"})
    ),
    promises.every_query_gets_the_same_opinion: lambda: declared("repeat", needs=frozenset()),
    promises.seeds_may_be_scored: lambda: declared("item_item", scores_seeds=True),
    promises.seeds_are_not_recommended: lambda: declared("repeat", scores_seeds=False),
    promises.no_opinion_is_nan_and_never_infinite: lambda: wrong_scorer("repeat"),
    promises.shares_say_what_made_the_score: lambda: wrong_scorer("repeat"),
    promises.saved_and_loaded_it_gives_identical_answers: lambda: wrapped(
        "als", from_arrays=classmethod(lambda cls, _arrays: cls(case_of("repeat").model))
    ),
    promises.a_missing_or_misshapen_array_is_named: lambda: wrapped(
        "repeat", arrays=lambda _self: {"weights": np.zeros(3)}
    ),
    promises.reading_never_writes: changing_arrays,
    promises.the_same_seed_gives_the_same_arrays: changing_arrays,
    promises.another_seed_gives_other_arrays: lambda: declared("repeat", random=True),
    promises.the_seed_changes_nothing: lambda: declared("als", random=False),
    promises.renaming_ids_changes_nothing: lambda: declared("popularity", fit=from_the_names),
    promises.the_order_of_ids_changes_nothing: lambda: declared("als", random=False),
}
"""Promise → a family that breaks it."""


@pytest.mark.parametrize("promise", promises.PROMISES, ids=lambda promise: promise.__name__)
def test_the_suite_fails_a_family_that_breaks_a_promise(promise: Promise) -> None:
    case = BROKEN[promise]()
    assert promise in promises_of(case.family), "the suite would leave the promise out"
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        promise(case)
