"""The promises of a model family, each a function that fails where a fitted case breaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, get_args

import numpy as np
import pytest

from recsys.errors import BundleError
from recsys.events.pseudonyms import Pseudonyms, pseudonyms_of
from recsys.ids import Array
from recsys.models.family import FamilyLevel, ModelFamily, Signal
from recsys.models.protocol import Model
from recsys.models.scoring.personal_rows import StoresUserData
from recsys.models.search_space import Choice
from recsys.models.testing.case import ALL, AS_OF, EVERYTHING, N_ITEMS, N_USERS, Case, Naming
from recsys.query.builder import stranger_query
from recsys.query.profile import Profile
from recsys.query.query import Context, Query

Promise = Callable[[Case], None]


def promises_of(family: ModelFamily) -> list[Promise]:
    """The promises that apply to the family, by what it declares."""
    return [promise for promise, applies in PROMISES.items() if applies(family)]


# What is declared.


def the_declaration_is_complete(case: Case) -> None:
    """Label, level, signals and search space name what exists."""
    family = case.family
    assert family.labels.get("en"), "labels['en'] is missing"
    assert family.level in get_args(FamilyLevel)
    assert family.needs <= set(get_args(Signal))
    for setting, space in family.search_space.items():
        values = space.values if isinstance(space, Choice) else (space.low, space.high)
        for value in values:
            family.config.model_validate({setting: value})


def a_misspelt_setting_is_refused(case: Case) -> None:
    """The config forbids unknown settings."""
    with pytest.raises(ValueError, match="no_such_setting"):
        case.family.config.model_validate({"no_such_setting": 1})


def a_model_follows_the_protocol(case: Case) -> None:
    """`fit` returns an instance of the declared class, which is a `Model`."""
    assert isinstance(case.model, case.family.model)
    assert isinstance(case.model, Model)
    assert isinstance(case.model, StoresUserData) is case.family.stores_user_data


# What is stored of people.


def an_erased_user_leaves_no_row(case: Case) -> None:
    """`drop_users` removes the rows of these users and nobody else's."""
    model = case.model
    assert isinstance(model, StoresUserData)
    everybody = pseudonyms_of(case.shop.person_keys())
    stranger = pseudonyms_of(["u:nobody"])
    stored = _stored(everybody, model.arrays())
    assert len(stored), "no user is stored at all"
    erased, rest = stored[:1], stored[1:]
    left = model.drop_users(np.concatenate([erased, stranger]))
    np.testing.assert_array_equal(_stored(everybody, left.arrays()), rest)
    assert model.drop_users(stranger) is model, "without a row to drop the model is the same"
    nobody = model.drop_users(everybody)
    assert not len(_stored(everybody, nobody.arrays()))
    nobody.condition(case.shop.queries()).retrieve(5, EVERYTHING)


def no_user_is_stored(case: Case) -> None:
    """No array has a row per user, a pseudonym, or the id of anybody."""
    everybody = pseudonyms_of(case.shop.person_keys())
    arrays = case.model.arrays()
    assert not len(_stored(everybody, arrays))
    for name, array in arrays.items():
        assert N_USERS not in array.shape, f"{name} has a row for each of {N_USERS} users"
        assert case.shop.naming.user.encode() not in np.asarray(array).tobytes(), name


# What is scored and retrieved.


def a_batch_gives_what_its_single_queries_give(case: Case) -> None:
    """No query changes the answer to another one of its batch."""
    queries = case.shop.queries()
    scorer = case.model.condition(queries)
    scores, retrieved = scorer.score([ALL] * len(queries)), scorer.retrieve(10, EVERYTHING)
    assert len(scores) == len(retrieved) == len(queries)
    for row, query in enumerate(queries):
        alone = case.model.condition([query])
        np.testing.assert_allclose(scores[row], alone.score([ALL])[0], rtol=1e-5, atol=1e-6)
        single = alone.retrieve(10, EVERYTHING)[0]
        np.testing.assert_allclose(retrieved[row].scores, single.scores, rtol=1e-5, atol=1e-6)
    assert case.model.condition([]).retrieve(10, EVERYTHING) == []
    assert case.model.condition([]).score([]) == []


def what_is_retrieved_is_the_best_of_what_is_scored(case: Case) -> None:
    """`retrieve` gives the n highest scores, best first, no item twice."""
    queries = case.shop.queries()
    scorer = case.model.condition(queries)
    for results, scores in zip(scorer.retrieve(7, EVERYTHING), case.scores(), strict=True):
        best = np.sort(scores[np.isfinite(scores)])[::-1][:7]
        np.testing.assert_allclose(results.scores, best, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(results.scores, scores[results.numbers], rtol=1e-5, atol=1e-6)
        assert len(np.unique(results.numbers)) == len(results)


def scores_follow_the_items_asked_for(case: Case) -> None:
    """`score` gives float32 in the order of the items, whatever they are."""
    queries = case.shop.queries()
    whole = case.scores()
    rng = np.random.default_rng(0)
    asked = [rng.permutation(ALL)[: row % 5] for row in range(len(queries))]
    for row, scores in enumerate(case.model.condition(queries).score(asked)):
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, whole[row][asked[row]], rtol=1e-5, atol=1e-6)


def ineligible_items_are_never_retrieved(case: Case) -> None:
    """Only items that the mask allows come back; none where it allows none."""
    eligible = np.arange(N_ITEMS) % 3 == 0
    scorer = case.model.condition(case.shop.queries())
    retrieved = scorer.retrieve(N_ITEMS, eligible)
    assert sum(map(len, retrieved))
    assert all(eligible[results.numbers].all() for results in retrieved)
    assert not sum(map(len, scorer.retrieve(5, np.zeros(N_ITEMS, np.bool_))))


def an_opinion_needs_what_is_declared(case: Case) -> None:
    """Each signal alone gives an opinion where it is among `needs`, and none where it is not."""
    for signal, query in _signals(case).items():
        expected = signal in case.family.needs
        scorer = case.model.condition([query])
        assert bool(len(scorer.retrieve(5, EVERYTHING)[0])) is expected, signal
        assert bool(np.isfinite(scorer.score([ALL])[0]).any()) is expected, signal


def without_its_signals_there_is_no_opinion(case: Case) -> None:
    """An empty query gets no items, NaN scores and no explanation."""
    scorer = case.model.condition([stranger_query(AS_OF)])
    assert not len(scorer.retrieve(5, EVERYTHING)[0])
    assert np.isnan(scorer.score([ALL])[0]).all()
    assert scorer.explain(0, 1) == ()


def every_query_gets_the_same_opinion(case: Case) -> None:
    """A family that needs nothing gives strangers what it gives everybody."""
    scores = case.scores()
    assert np.isfinite(scores).any()
    np.testing.assert_array_equal(scores, np.broadcast_to(scores[0], scores.shape))


def seeds_may_be_scored(case: Case) -> None:
    """An item of the page or cart may get a score."""
    assert np.isfinite(_scores_of_seeds(case)).any()


def seeds_are_not_recommended(case: Case) -> None:
    """An item of the page or cart gets no score."""
    assert np.isnan(_scores_of_seeds(case)).all()


def no_opinion_is_nan_and_never_infinite(case: Case) -> None:
    """Scores are finite or NaN, retrieved ones finite."""
    assert not np.isinf(case.scores()).any()
    for results in case.model.condition(case.shop.queries()).retrieve(N_ITEMS, EVERYTHING):
        assert np.isfinite(results.scores).all()


def shares_say_what_made_the_score(case: Case) -> None:
    """`explain` names evidence of the query; its absolute shares sum to 1, largest first."""
    queries = case.shop.queries()
    scorer = case.model.condition(queries)
    explained = 0
    for row, results in enumerate(scorer.retrieve(3, EVERYTHING)):
        for item in results.numbers.tolist():
            contributions = scorer.explain(row, item)
            shares = [contribution.share for contribution in contributions]
            assert np.abs(shares).sum() == pytest.approx(1.0, abs=1e-4)
            assert shares == sorted(shares, reverse=True)
            known = {*queries[row].history.items.tolist(), *queries[row].seeds.tolist()}
            for contribution in contributions:
                assert contribution.kind in ("history", "seed", "trait", "everybody")
                assert (contribution.item in known) == (contribution.kind in ("history", "seed"))
                assert (contribution.trait is not None) == (contribution.kind == "trait")
            explained += 1
    assert explained


# What is saved.


def saved_and_loaded_it_gives_identical_answers(case: Case) -> None:
    """The arrays, saved without pickle and memory-mapped, are the model."""
    with TemporaryDirectory() as folder:
        for name, array in case.model.arrays().items():
            np.save(Path(folder) / f"{name}.npy", array, allow_pickle=False)
        mapped = {path.stem: np.load(path, mmap_mode="r") for path in Path(folder).glob("*.npy")}
        loaded = replace(case, model=case.family.model.from_arrays(mapped))
        np.testing.assert_array_equal(case.scores(), loaded.scores())
        retrieved = [
            of.model.condition(case.shop.queries()).retrieve(9, EVERYTHING) for of in (case, loaded)
        ]
        for before, after in zip(*retrieved, strict=True):
            np.testing.assert_array_equal(before.numbers, after.numbers)


def a_missing_or_misshapen_array_is_named(case: Case) -> None:
    """`from_arrays` raises BundleError that names the array."""
    arrays = dict(case.model.arrays())
    for name, array in arrays.items():
        rest = {key: value for key, value in arrays.items() if key != name}
        with pytest.raises(BundleError, match=name):
            case.family.model.from_arrays(rest)
        with pytest.raises(BundleError, match=name):
            case.family.model.from_arrays({**arrays, name: np.asarray(array)[None]})


def reading_never_writes(case: Case) -> None:
    """A thousand strangers leave every array as it was."""
    before = {name: np.array(array) for name, array in case.model.arrays().items()}
    scorer = case.model.condition(_strangers(case, 1000))
    scorer.retrieve(5, EVERYTHING)
    scorer.score([ALL] * 1000)
    _assert_equal(before, case.model.arrays())


# What a fit depends on.


def the_same_seed_gives_the_same_arrays(case: Case) -> None:
    """A fit depends on data, config and `rng` alone."""
    _assert_equal(case.model.arrays(), case.refitted().model.arrays())


def another_seed_gives_other_arrays(case: Case) -> None:
    """A family that is declared random draws from `rng`."""
    assert not _equal(case.model.arrays(), case.refitted(seed=2).model.arrays())


def the_seed_changes_nothing(case: Case) -> None:
    """A family that is not declared random does not depend on `rng`."""
    _assert_equal(case.model.arrays(), case.refitted(seed=2).model.arrays())


def renaming_ids_changes_nothing(case: Case) -> None:
    """Other ids in the same order give the same scores."""
    _assert_same_scores(case, Naming(item="sku/", user="client "))


def the_order_of_ids_changes_nothing(case: Case) -> None:
    """Ids in another order give the same scores (a random start follows the order of the rows)."""
    _assert_same_scores(case, Naming(item="sku/", user="client ", reverse=True))


def _always(_family: ModelFamily) -> bool:
    return True


PROMISES: Final[Mapping[Promise, Callable[[ModelFamily], bool]]] = {
    the_declaration_is_complete: _always,
    a_misspelt_setting_is_refused: _always,
    a_model_follows_the_protocol: _always,
    an_erased_user_leaves_no_row: lambda family: family.stores_user_data,
    no_user_is_stored: lambda family: not family.stores_user_data,
    a_batch_gives_what_its_single_queries_give: _always,
    what_is_retrieved_is_the_best_of_what_is_scored: _always,
    scores_follow_the_items_asked_for: _always,
    ineligible_items_are_never_retrieved: _always,
    an_opinion_needs_what_is_declared: lambda family: bool(family.needs),
    without_its_signals_there_is_no_opinion: lambda family: bool(family.needs),
    every_query_gets_the_same_opinion: lambda family: not family.needs,
    seeds_may_be_scored: lambda family: family.scores_seeds,
    seeds_are_not_recommended: lambda family: not family.scores_seeds,
    no_opinion_is_nan_and_never_infinite: _always,
    shares_say_what_made_the_score: _always,
    saved_and_loaded_it_gives_identical_answers: _always,
    a_missing_or_misshapen_array_is_named: _always,
    reading_never_writes: _always,
    the_same_seed_gives_the_same_arrays: _always,
    another_seed_gives_other_arrays: lambda family: family.random,
    the_seed_changes_nothing: lambda family: not family.random,
    renaming_ids_changes_nothing: _always,
    the_order_of_ids_changes_nothing: lambda family: not family.random,
}
"""Promise → whether it applies to a family, by its declaration."""


def _signals(case: Case) -> dict[Signal, Query]:
    """One query for each signal that has nothing else."""
    nothing = stranger_query(AS_OF)
    history = case.shop.queries()[1].history
    return {
        "history": replace(nothing, history=history),
        "session": replace(nothing, session=history),
        "seeds": replace(nothing, seeds=case.shop.numbers([0])),
        "country": replace(nothing, context=Context(country="NL")),
        "traits": replace(nothing, profile=Profile(customer_group="trade")),
        "term": replace(nothing, context=Context(search_term="Mug")),
    }


def _scores_of_seeds(case: Case) -> Array:
    """The scores of two items of the history that are the page as well."""
    history = case.shop.queries()[1].history
    seeds = history.totals()[0][:2]
    context = Context(country="NL", search_term="mug")
    query = Query(now=AS_OF, history=history, seeds=seeds, context=context)
    return case.model.condition([query]).score([seeds])[0]


def _strangers(case: Case, n: int) -> list[Query]:
    """Queries with a history that nobody in the training data has."""
    rng = np.random.default_rng(3)
    history = case.shop.queries()[0].history
    strangers = []
    for _ in range(n):
        span = slice(0, int(rng.integers(0, len(history) + 1)))
        past = replace(
            history,
            items=rng.permutation(N_ITEMS)[: len(history)].astype(np.int32)[span],
            kinds=history.kinds[span],
            times=history.times[span],
            weights=history.weights[span],
        )
        strangers.append(Query(now=AS_OF, history=past, seeds=past.items[:1]))
    return strangers


def _stored(users: Pseudonyms, arrays: Mapping[str, Array]) -> Pseudonyms:
    """Those of the users who occur in an array, sorted."""
    values = [np.asarray(array).ravel() for array in arrays.values() if array.dtype == users.dtype]
    return np.intersect1d(users, np.concatenate([np.empty(0, users.dtype), *values]))


def _equal(arrays: Mapping[str, Array], others: Mapping[str, Array]) -> bool:
    return arrays.keys() == others.keys() and all(
        np.array_equal(array, others[name], equal_nan=array.dtype.kind == "f")
        for name, array in arrays.items()
    )


def _assert_equal(arrays: Mapping[str, Array], others: Mapping[str, Array]) -> None:
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)


def _assert_same_scores(case: Case, naming: Naming) -> None:
    renamed = case.refitted(naming=naming)
    old = case.shop.numbers(list(range(N_ITEMS)))
    new = renamed.shop.numbers(list(range(N_ITEMS)))
    np.testing.assert_allclose(
        case.scores()[:, old], renamed.scores()[:, new], rtol=1e-4, atol=1e-6
    )
