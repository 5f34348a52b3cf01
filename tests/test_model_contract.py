"""What every family in MODELS promises, in one suite; where families differ, it is declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.errors import BundleError
from recsys.events.log import EventLog, rows
from recsys.events.pseudonyms import pseudonyms_of
from recsys.events.schema import Event, EventContext, EventItem
from recsys.events.weighting import Weighting
from recsys.ids import NONE
from recsys.models.protocol import Model
from recsys.models.registry import MODELS
from recsys.models.scoring.personal_rows import StoresPeople
from recsys.query.history import NO_HISTORY
from recsys.query.profile import Profile
from recsys.query.query import Context, Query

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
N_ITEMS, N_PEOPLE = 48, 60
COUNTRIES = ("NL", "DE", "FR")
TERMS = ("mug", "red lamp")
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "als": {"embedding_size": 12},
    "graph_filter": {"frequencies": 8},
    "ials": {"embedding_size": 12, "block": 5},
    "bpr": {"embedding_size": 8},
    "hybrid": {"embedding_size": 8, "epochs": 5},
    "bought_together": {"min_customers": 1},
    "newcomers": {"max_users": 14},
}


@dataclass(frozen=True)
class Declared:
    """In what a family differs from the others."""

    needs: frozenset[str]
    """Any of these gives it an opinion: history, session, seeds, country, traits, term."""
    scores_seeds: bool = True
    """Whether an item of the page may get a score itself."""
    random: bool = False
    """Starts from random numbers, so that another order of the items gives another model."""
    stores_people: bool = False
    """Whether visits or customers are stored."""


HISTORY = frozenset({"history"})
FROM_ITEMS = frozenset({"history", "seeds"})
DECLARED: Mapping[str, Declared] = {
    "popularity": Declared(frozenset()),
    "popularity_by_country": Declared(frozenset({"country"})),
    "popularity_by_segment": Declared(frozenset({"country", "traits"})),
    "popularity_by_category": Declared(FROM_ITEMS),
    "trending": Declared(frozenset()),
    "repeat": Declared(HISTORY),
    "rebuy": Declared(HISTORY),
    "refill": Declared(HISTORY),
    "recent": Declared(HISTORY),
    "session": Declared(frozenset({"session"}), scores_seeds=False),
    "session_knn": Declared(frozenset({"session"}), scores_seeds=False, stores_people=True),
    "tifu_knn": Declared(HISTORY, stores_people=True),
    "up_cf": Declared(HISTORY, stores_people=True),
    "random_walk": Declared(FROM_ITEMS, scores_seeds=False),
    "item_item": Declared(FROM_ITEMS, scores_seeds=False),
    "ease": Declared(FROM_ITEMS, scores_seeds=False),
    "graph_filter": Declared(HISTORY, random=True),
    "als": Declared(HISTORY, random=True),
    "ials": Declared(HISTORY, random=True),
    "bpr": Declared(HISTORY, random=True),
    "hybrid": Declared(frozenset({"history", "country", "traits"}), random=True),
    "bought_together": Declared(frozenset({"seeds"}), scores_seeds=False),
    "newcomers": Declared(FROM_ITEMS, scores_seeds=False),
    "habits": Declared(HISTORY),
    "search_clicks": Declared(frozenset({"term"})),
    "content": Declared(FROM_ITEMS, scores_seeds=False),
}

Names = Callable[[int], str]


@dataclass(frozen=True)
class Shop:
    """The training data of one small shop under some way to name items and people."""

    data: TrainingData
    item_id: Names
    user_id: Names


def small_shop(folder: Path, *, item_id: Names, user_id: Names) -> Shop:
    """Two tastes (even and odd items) over four categories, three countries, two groups."""
    rng = np.random.default_rng(7)
    events: list[Event] = []
    for person in range(N_PEOPLE):
        for visit in range(int(rng.integers(2, 6))):
            when = AS_OF - timedelta(days=float(rng.uniform(1, 120)), seconds=visit)
            taste = person % 2
            seen = [int(item) for item in rng.choice(N_ITEMS // 2, 4, replace=False) * 2 + taste]
            for kind, items in (
                ("view_item_list", [*seen[:2], (seen[0] + 7) % N_ITEMS]),
                ("view_item", seen[:1]),
                ("view_item", seen[3:]),
                ("purchase", seen[:3]),
            ):
                events.append(
                    Event(
                        event_id=f"{person}-{visit}-{kind}-{items}",
                        event=kind,
                        timestamp=when + timedelta(minutes=len(events) % 7),
                        user_id=user_id(person),
                        items=[EventItem(item_id(item)) for item in items],
                        search_term=TERMS[visit % 2] if kind == "view_item_list" else None,
                        context=EventContext(country=COUNTRIES[person % 3]),
                    )
                )
    log = EventLog(folder)
    log.append(rows(events), part="all")
    catalog = [
        Item(
            item_id=item_id(item),
            title=f"{('red', 'blue')[item % 2]} {('mug', 'bowl', 'lamp', 'rug')[item % 8 // 2]} "
            f"number {item}",
            category=["Home", ("Kitchen", "Living")[item % 8 // 4], f"Shelf {item % 8 // 2}"],
            brand=f"Brand {item % 5}",
            price=float(3 + item),
        )
        for item in range(N_ITEMS)
    ]
    profiles = {
        f"u:{user_id(person)}": Profile(
            user_id=user_id(person),
            country=COUNTRIES[person % 3],
            customer_group=("home", "trade")[person % 2],
        )
        for person in range(N_PEOPLE)
    }
    data = read_training_data(
        log, as_of=AS_OF, weighting=Weighting(), catalog=catalog, profiles=profiles
    )
    return Shop(data, item_id, user_id)


def fitted(name: str, data: TrainingData, *, seed: int = 1) -> Model:
    family = MODELS[name]
    config = family.config.model_validate(dict(SETTINGS.get(name, {})))
    return family.fit(data, config, rng=np.random.default_rng(seed))


def queries_of(shop: Shop) -> list[Query]:
    """Everybody at the end, a third of them on an item's page, and two who are unknown."""
    persons = [f"u:{shop.user_id(person)}" for person in range(N_PEOPLE)]
    asked = shop.data.queries(persons, now=AS_OF)
    pages = [
        shop.data.items.numbers([shop.item_id(n) for n in {person % N_ITEMS, 3}])
        if person % 3 == 0
        else NONE
        for person in range(N_PEOPLE)
    ]
    return [
        *(
            replace(query, seeds=seeds, session=query.history.since(query.history.times[-1]))
            for query, seeds in zip(asked, pages, strict=True)
        ),
        Query(now=AS_OF),
        Query(now=AS_OF, context=Context(country="NL", search_term="Mug")),
    ]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return small_shop(
        tmp_path_factory.mktemp("log"), item_id=lambda n: f"i{n:03}", user_id=lambda n: f"p{n:03}"
    )


@pytest.fixture(scope="module")
def models(shop: Shop) -> dict[str, Model]:
    return {name: fitted(name, shop.data) for name in MODELS}


@pytest.fixture(params=sorted(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str, models: dict[str, Model]) -> Model:
    return models[name]


ALL = np.arange(N_ITEMS, dtype=np.int32)
EVERYTHING = np.ones(N_ITEMS, np.bool_)


def scores_of(model: Model, queries: list[Query]) -> np.ndarray:
    return np.array(model.condition(queries).score([ALL] * len(queries)))


def test_every_family_declares_in_what_it_differs() -> None:
    assert set(DECLARED) == set(MODELS)


def test_a_model_follows_the_protocol_and_holds_no_people_undeclared(
    name: str, model: Model
) -> None:
    assert isinstance(model, Model)
    assert model.stores_user_data is DECLARED[name].stores_people
    assert isinstance(model, StoresPeople) is DECLARED[name].stores_people


def test_an_erased_person_leaves_no_row(name: str, model: Model, shop: Shop) -> None:
    if not isinstance(model, StoresPeople):
        return
    erased, stranger = pseudonyms_of([f"u:{shop.user_id(3)}", "u:nobody"])
    left = model.without(np.array([erased, stranger])).arrays()
    before = model.arrays()
    assert erased in before["owners"]
    kept = before["owners"] != erased
    np.testing.assert_array_equal(left["owners"], before["owners"][kept])
    assert model.without(np.array([stranger])) is model
    everybody = pseudonyms_of([f"u:{shop.user_id(n)}" for n in range(N_PEOPLE)])
    assert not len(model.without(everybody).arrays()["owners"])
    model.without(everybody).condition(queries_of(shop)).retrieve(5, EVERYTHING)


def test_a_batch_gives_what_its_single_queries_give(model: Model, shop: Shop) -> None:
    queries = queries_of(shop)
    scorer = model.condition(queries)
    together, listed = scorer.score([ALL] * len(queries)), scorer.retrieve(10, EVERYTHING)
    for row, query in enumerate(queries):
        alone = model.condition([query])
        np.testing.assert_allclose(together[row], alone.score([ALL])[0], rtol=1e-5, atol=1e-6)
        single = alone.retrieve(10, EVERYTHING)[0]
        np.testing.assert_allclose(listed[row].scores, single.scores, rtol=1e-5, atol=1e-6)
    assert model.condition([]).retrieve(10, EVERYTHING) == []
    assert model.condition([]).score([]) == []


def test_what_is_retrieved_is_the_best_of_what_is_scored(model: Model, shop: Shop) -> None:
    scorer = model.condition(queries_of(shop))
    for row, found in enumerate(scorer.retrieve(7, EVERYTHING)):
        scores = scorer.score([ALL] * (N_PEOPLE + 2))[row]
        best = np.sort(scores[np.isfinite(scores)])[::-1][:7]
        np.testing.assert_allclose(found.scores, best, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.scores, scores[found.numbers], rtol=1e-5, atol=1e-6)
        assert len(np.unique(found.numbers)) == len(found)


def test_scores_follow_the_items_asked_for(model: Model, shop: Shop) -> None:
    queries = queries_of(shop)
    whole = scores_of(model, queries)
    rng = np.random.default_rng(0)
    asked = [rng.permutation(ALL)[: row % 5] for row in range(len(queries))]
    for row, scores in enumerate(model.condition(queries).score(asked)):
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, whole[row][asked[row]], rtol=1e-5, atol=1e-6)


def test_ineligible_items_are_never_retrieved(model: Model, shop: Shop) -> None:
    eligible = np.arange(N_ITEMS) % 3 == 0
    queries = queries_of(shop)
    for found in model.condition(queries).retrieve(N_ITEMS, eligible):
        assert eligible[found.numbers].all()
    nothing = model.condition(queries).retrieve(5, np.zeros(N_ITEMS, np.bool_))
    assert all(len(found) == 0 for found in nothing)


def test_an_opinion_needs_what_is_declared(name: str, model: Model, shop: Shop) -> None:
    needs = DECLARED[name].needs
    full = queries_of(shop)[1]
    assert len(full.history)
    nothing = Query(now=AS_OF)
    page = shop.data.items.numbers([shop.item_id(0)])
    cases = {
        "history": replace(nothing, history=full.history),
        "session": replace(nothing, session=full.history),
        "seeds": replace(nothing, seeds=page),
        "country": replace(nothing, context=Context(country="NL")),
        "traits": replace(nothing, profile=Profile(customer_group="trade")),
        "term": replace(nothing, context=Context(search_term="Mug")),
    }
    assert bool(len(model.condition([nothing]).retrieve(5, EVERYTHING)[0])) == (not needs)
    for what, query in cases.items():
        scorer = model.condition([query])
        has_opinion = not needs or what in needs
        assert bool(len(scorer.retrieve(5, EVERYTHING)[0])) == has_opinion, what
        assert bool(np.isfinite(scorer.score([ALL])[0]).any()) == has_opinion, what


def test_a_page_is_not_recommended_itself_where_so_declared(
    name: str, model: Model, shop: Shop
) -> None:
    history = queries_of(shop)[1].history
    seeds = history.totals()[0][:2]
    context = Context(country="NL", search_term="mug")
    query = Query(now=AS_OF, history=history, seeds=seeds, context=context)
    scores = model.condition([query]).score([seeds])[0]
    assert bool(np.isfinite(scores).any()) == DECLARED[name].scores_seeds


def test_no_opinion_is_nan_and_never_infinite(model: Model, shop: Shop) -> None:
    scores = scores_of(model, queries_of(shop))
    assert not np.isinf(scores).any()
    stranger = model.condition([Query(now=AS_OF, history=NO_HISTORY)]).retrieve(5, EVERYTHING)[0]
    assert not np.isnan(stranger.scores).any()


def test_saved_and_loaded_it_gives_identical_answers(
    model: Model, shop: Shop, tmp_path: Path
) -> None:
    for key, array in model.arrays().items():
        np.save(tmp_path / f"{key}.npy", array, allow_pickle=False)
    mapped = {path.stem: np.load(path, mmap_mode="r") for path in tmp_path.glob("*.npy")}
    loaded = type(model).from_arrays(mapped)
    queries = queries_of(shop)
    before, after = model.condition(queries), loaded.condition(queries)
    np.testing.assert_array_equal(scores_of(model, queries), scores_of(loaded, queries))
    for one, other in zip(
        before.retrieve(9, EVERYTHING), after.retrieve(9, EVERYTHING), strict=True
    ):
        np.testing.assert_array_equal(one.numbers, other.numbers)


def test_a_missing_or_misshapen_array_is_named(model: Model) -> None:
    arrays = dict(model.arrays())
    for key, array in arrays.items():
        missing = {other: value for other, value in arrays.items() if other != key}
        with pytest.raises(BundleError, match=key):
            type(model).from_arrays(missing)
        with pytest.raises(BundleError, match=key):
            type(model).from_arrays({**arrays, key: np.asarray(array)[None]})


def test_reading_never_writes(model: Model, shop: Shop) -> None:
    before = {key: np.array(array) for key, array in model.arrays().items()}
    rng = np.random.default_rng(3)
    history = queries_of(shop)[0].history
    strangers = []
    for _ in range(1000):
        span = slice(0, int(rng.integers(0, len(history) + 1)))
        past = replace(
            history,
            items=rng.permutation(N_ITEMS)[: len(history)].astype(np.int32)[span],
            kinds=history.kinds[span],
            times=history.times[span],
            weights=history.weights[span],
        )
        strangers.append(Query(now=AS_OF, history=past, seeds=past.items[:1]))
    scorer = model.condition(strangers)
    scorer.retrieve(5, EVERYTHING)
    scorer.score([ALL] * len(strangers))
    after = model.arrays()
    assert before.keys() == after.keys()
    for key, array in before.items():
        np.testing.assert_array_equal(array, after[key])


def test_the_same_seed_gives_the_same_arrays(name: str, model: Model, shop: Shop) -> None:
    again = fitted(name, shop.data).arrays()
    for key, array in model.arrays().items():
        np.testing.assert_array_equal(array, again[key])


def test_another_seed_changes_only_what_is_declared_random(name: str, shop: Shop) -> None:
    one, other = (fitted(name, shop.data, seed=seed).arrays() for seed in (1, 2))
    same = all(
        np.array_equal(array, other[key], equal_nan=array.dtype.kind == "f")
        for key, array in one.items()
    )
    assert same == (not DECLARED[name].random)


def test_renaming_ids_changes_nothing(name: str, model: Model, shop: Shop, tmp_path: Path) -> None:
    """Where a model starts from random numbers, the new names keep the old order."""
    keep_order = DECLARED[name].random
    renamed = small_shop(
        tmp_path,
        item_id=lambda n: f"sku/{n if keep_order else N_ITEMS - n:03}",
        user_id=lambda n: f"client {n if keep_order else N_PEOPLE - n:03}",
    )
    old = shop.data.items.numbers([shop.item_id(n) for n in range(N_ITEMS)])
    new = renamed.data.items.numbers([renamed.item_id(n) for n in range(N_ITEMS)])
    before = scores_of(model, queries_of(shop))
    after = scores_of(fitted(name, renamed.data), queries_of(renamed))
    np.testing.assert_allclose(before[:, old], after[:, new], rtol=1e-4, atol=1e-6)


def test_shares_say_what_made_the_score(model: Model, shop: Shop) -> None:
    queries = queries_of(shop)
    scorer = model.condition(queries)
    explained = 0
    for row, found in enumerate(scorer.retrieve(3, EVERYTHING)):
        for item in found.numbers.tolist():
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


def test_without_an_opinion_there_is_nothing_to_explain(
    name: str, model: Model, shop: Shop
) -> None:
    if DECLARED[name].needs:
        assert model.condition([Query(now=AS_OF)]).explain(0, 1) == ()
