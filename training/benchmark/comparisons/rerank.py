"""Reranking of search results, compared with the engine, popularity and an unpersonalised ranker.

`shop_rows` on the synthetic shop, whose true relevance is known; `title_rows` on the purchases of
any shop by a derived protocol: they hold no searches, so queries are made of words of titles.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData
from recsys.evaluation.baselines import buyers
from recsys.evaluation.metrics import gain_ndcg_at_k
from recsys.ids import USER_PREFIX, is_user_key
from recsys.models.content.item_words import title_words
from recsys.query.builder import stranger_query
from recsys.query.query import Context, Listed, Query
from recsys.recommend.operations import rerank
from recsys.synthetic import SyntheticShop
from training.benchmark.comparisons.rows import AsOf, ComparisonRow, bought_later, rows_of
from training.config import Recipe
from training.fitting.build import build
from training.fitting.rerank_weights import EVERYBODY, JudgedList, judged_lists, learnt_weights
from training.run_context import Provenance, RunContext

OURS: Final = "personal ranker"
PERSONAL: Final = (
    "repeat",
    "rebuy",
    "random_walk",
    "item_item",
    "als",
    "hybrid",
    "content",
    "habits",
)
K: Final = 10
LIST_LENGTH: Final = 50
WORD_ITEMS: Final = (8, 400)
"""A title word is a query where so many items have it: fewer leave nothing to order."""
WORDS_PER_CUSTOMER: Final = 4
METRIC: Final = f"ndcg_at_{K}"


def shop_rows(
    shop: SyntheticShop,
    as_of: AsOf,
    end: datetime,
    *,
    recipe: Recipe,
    validation: timedelta = timedelta(days=20),
    searches: int = 3000,
    max_shift: int | None = None,
    seed: int = 7,
) -> list[ComparisonRow]:
    """Searches of the synthetic shop at `end`, by known customers and by anonymous visitors.

    True relevance: grade of the item for the term × the probability that this person buys it. The
    weights are learnt from the lists that were shown in the `validation` days before `end`.
    """
    known, later = as_of(end - validation), as_of(end)
    rng = np.random.default_rng(seed)
    compared: list[ComparisonRow] = []
    ranked, unpersonal = _rankers(
        known, later, recipe, lambda bundle: judged_lists(bundle, known, later), max_shift
    )
    customers = list(filter(is_user_key, later.users))
    for protocol, strangers in (
        ("synthetic shop, known customers", False),
        ("synthetic shop, strangers", True),
    ):
        drawn = (
            _search(shop, later, customers, end, rng, stranger=strangers) for _ in range(searches)
        )
        judged = [search for search in drawn if search is not None]
        compared += _measured(protocol, judged, later, ranked, unpersonal, seed=seed)
    return compared


def title_rows(
    as_of: AsOf,
    cut: datetime,
    until: datetime,
    *,
    recipe: Recipe,
    validation: timedelta = timedelta(days=30),
    customers: int = 1500,
    max_shift: int | None = None,
    seed: int = 7,
) -> list[ComparisonRow]:
    """A derived protocol: customers search for words of the titles that they buy in [cut, until).

    The engine is SQLite's BM25 over titles; relevant is what the customer buys then. The weights
    are learnt in the same way from the `validation` days before the cut.
    """
    earlier, known, later = as_of(cut - validation), as_of(cut), as_of(until)
    rng = np.random.default_rng(seed)
    ranked, unpersonal = _rankers(
        earlier,
        known,
        recipe,
        lambda _bundle: title_searches(earlier, known, customers, rng=rng),
        max_shift,
    )
    judged = title_searches(known, later, customers, rng=rng)
    return _measured(
        "title words (derived), purchases later", judged, known, ranked, unpersonal, seed=seed
    )


def title_searches(
    known: TrainingData, later: TrainingData, customers: int, *, rng: Generator
) -> list[JudgedList]:
    """Searches of customers for words of what they bought after `known.as_of`, with what they
    bought then as the relevant items."""
    engine = _TitleEngine(known.catalog.items)
    bought = {
        person: items
        for person, items in bought_later(known, later).items()
        if known.users.number(person) is not None
    }
    persons = rng.permutation(list(bought))[:customers].tolist()
    searches = []
    for person, query in zip(persons, known.queries(persons, now=known.as_of), strict=True):
        terms = sorted({term for item in bought[person].tolist() for term in engine.terms(item)})
        for term in rng.permutation(terms)[:WORDS_PER_CUSTOMER].tolist():
            items, scores = engine.search(term)
            gains = np.isin(items, bought[person]).astype(np.float64)
            if gains.any():
                context = replace(query.context, search_term=term)
                query_of_term = replace(query, listed=Listed(items, scores), context=context)
                searches.append(JudgedList(query_of_term, gains, np.ones(len(items))))
    return searches


class _TitleEngine:
    """SQLite's full-text search over titles."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._terms = [set(title_words(item)) for item in items]
        counts = Counter(itertools.chain.from_iterable(self._terms))
        least, most = WORD_ITEMS
        self._searched = {term for term, count in counts.items() if least <= count <= most}
        self._titles = sqlite3.connect(":memory:")
        self._titles.execute("CREATE VIRTUAL TABLE titles USING fts5(title)")
        self._titles.executemany(
            "INSERT INTO titles (rowid, title) VALUES (?, ?)",
            ((number, item.title) for number, item in enumerate(items)),
        )

    def terms(self, item: int) -> set[str]:
        """The words of a title that are queries."""
        return self._terms[item] & self._searched

    def search(self, term: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The best by BM25 (Robertson, Zaragoza 2009), with scores where higher is better."""
        rows = self._titles.execute(
            "SELECT rowid, -bm25(titles) FROM titles WHERE titles MATCH ? "
            "ORDER BY bm25(titles), rowid LIMIT ?",
            (f'"{term}"', LIST_LENGTH),
        ).fetchall()
        numbers = np.array([number for number, _ in rows], np.int32)
        return numbers, np.array([score for _, score in rows], np.float32)


def _rankers(
    known: TrainingData,
    later: TrainingData,
    recipe: Recipe,
    judged: Callable[[Bundle], Sequence[JudgedList]],
    max_shift: int | None,
) -> tuple[tuple[Bundle, Placement], tuple[Bundle, Placement]]:
    """Ours and the unpersonalised one: weights learnt on models of `known`, models of `later`."""
    names = tuple(name for name in (*EVERYBODY, *PERSONAL) if name in recipe.models)
    personal = Placement(
        name="rerank", blend=dict.fromkeys(names, 0.5), fallback=(), max_shift=max_shift
    )
    unpersonal = personal.with_blend({name: 0.5 for name in names if name in EVERYBODY})
    context = RunContext(Provenance("benchmark", "", ""))
    learning = build(known, recipe, context=context, placements=(personal,))
    lists = judged(learning)
    placements = [learnt_weights(learning, p, lists) for p in (personal, unpersonal)]
    bundle = build(later, recipe, context=context, placements=(personal,))
    return (bundle, placements[0]), (bundle, placements[1])


def _search(
    shop: SyntheticShop,
    data: TrainingData,
    customers: Sequence[str],
    now: datetime,
    rng: Generator,
    *,
    stranger: bool,
) -> JudgedList | None:
    """A random customer's search with the true gain of each result; None where there is no result
    to reorder. With `stranger` the query lacks the customer's history.
    """
    person = customers[int(rng.integers(len(customers)))]
    chances = shop.purchase_probabilities(person.removeprefix(USER_PREFIX), now)
    term = shop.queries[int(rng.integers(len(shop.queries)))]
    page = shop.search(term, now)
    grades = shop.relevance(term)
    gains = np.array([grades.get(id, 0) * chances[shop.item_number(id)] for id, _ in page])
    if len(page) < 2 or not gains.any():
        return None
    listed = Listed(
        data.items.numbers([id for id, _ in page]),
        np.array([score for _, score in page], np.float32),
    )
    query = stranger_query(now) if stranger else data.queries([person], now=now)[0]
    query = replace(query, listed=listed, context=Context(search_term=term))
    return JudgedList(query, gains, np.ones(len(page)))


def _measured(
    protocol: str,
    judged: Sequence[JudgedList],
    data: TrainingData,
    ours: tuple[Bundle, Placement],
    unpersonal: tuple[Bundle, Placement],
    *,
    seed: int,
) -> list[ComparisonRow]:
    """NDCG@10 by graded gain (Järvelin, Kekäläinen: Cumulated gain-based evaluation, TOIS 2002)."""
    counts = buyers(data)
    queries = [search.query for search in judged]
    listed = [query.listed.items for query in queries if query.listed is not None]
    orders = {
        OURS: _orders(queries, *ours),
        "unpersonalised ranker": _orders(queries, *unpersonal),
        "engine": [np.arange(len(items)) for items in listed],
        "popularity": [
            np.argsort(-np.where(items >= 0, counts[items], -1.0), kind="stable")
            for items in listed
        ],
    }
    gains = [search.gains for search in judged]
    truth = [np.arange(len(gain), dtype=np.int32) for gain in gains]
    measured = {
        name: {
            METRIC: gain_ndcg_at_k([order.astype(np.int32) for order in by_list], truth, gains, K)
        }
        for name, by_list in orders.items()
    }
    return rows_of(protocol, measured, ours=OURS, rng=np.random.default_rng(seed))


def _orders(
    queries: Sequence[Query], bundle: Bundle, placement: Placement
) -> list[NDArray[np.intp]]:
    live_catalog = LiveCatalog.of(bundle.catalog)
    return [ranking.order for ranking in rerank(bundle, queries, placement, live_catalog)]
