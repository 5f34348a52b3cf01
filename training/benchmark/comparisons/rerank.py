"""Reordering search results, measured against the engine, popularity and the unpersonalised ranker.

`shop_rows` on the synthetic shop, whose true relevance is known; `title_rows` on any shop's
purchases by a derived protocol: nobody's searches are in them, so queries are made of title words.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.items import Item
from recsys.catalog.live import LiveCatalog
from recsys.dataset.training_data import TrainingData
from recsys.evaluation.baselines import buyers
from recsys.models.content.item_words import title_words
from recsys.query.query import Context, Listed, Query
from recsys.recommend.operations import rerank
from recsys.synthetic import SyntheticShop
from training.benchmark.comparisons.rows import Row, rows_of
from training.config import Recipe
from training.fitting.build import build
from training.fitting.rerank_weights import EVERYBODY, JudgedList, judged_lists, learnt_weights
from training.run_context import Provenance, RunContext

AsOf = Callable[[datetime], TrainingData]

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
) -> list[Row]:
    """Known customers and strangers who search the synthetic shop at `end`.

    True relevance: grade of the item for the term × the chance that this person buys it. The
    weights are learnt from the lists that were shown in the `validation` days before `end`.
    """
    known, later = as_of(end - validation), as_of(end)
    rng = np.random.default_rng(seed)
    found: list[Row] = []
    ranked, unpersonal = _rankers(
        known, later, recipe, lambda bundle: judged_lists(bundle, known, later), max_shift
    )
    customers = [person for person in later.users.ids() if person.startswith("u:")]
    for protocol, strangers in (
        ("synthetic shop, known customers", False),
        ("synthetic shop, strangers", True),
    ):
        asked = [
            one
            for _ in range(searches)
            if (one := _search(shop, later, customers, end, rng, stranger=strangers)) is not None
        ]
        found += _measured(protocol, asked, later, ranked, unpersonal, seed=seed)
    return found


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
) -> list[Row]:
    """A derived protocol: a customer searches for a word in the title of what is bought in
    [cut, until); the engine is SQLite's BM25 over titles; what the customer buys then is relevant.

    The weights are learnt in the same way from the `validation` days before the cut.
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
    asked = title_searches(known, later, customers, rng=rng)
    return _measured(
        "title words (derived), purchases later", asked, known, ranked, unpersonal, seed=seed
    )


def title_searches(
    known: TrainingData, later: TrainingData, customers: int, *, rng: Generator
) -> list[JudgedList]:
    """Searches of customers for words of what they bought after `known.as_of`, with what they
    bought then as the relevant items."""
    engine = _TitleEngine(known.catalog.items)
    cut = known.as_of.timestamp()
    numbers = known.items.numbers(later.items.ids())
    users = np.unique(later.timeline.users[later.timeline.times >= cut])
    persons = [
        (user, person)
        for user, person in zip(users.tolist(), later.users.ids(users), strict=True)
        if known.users.number(person) is not None
    ]
    chosen = rng.permutation(len(persons))[:customers].tolist()
    found = []
    for user, person in (persons[index] for index in chosen):
        span = slice(int(later.timeline.starts[user]), int(later.timeline.starts[user + 1]))
        after = later.timeline.times[span] >= cut
        bought = np.unique(numbers[later.timeline.items[span][after]])
        bought = bought[bought >= 0]
        words = sorted({word for item in bought.tolist() for word in engine.words(item)})
        (query,) = known.queries([person], now=known.as_of)
        for word in rng.permutation(words)[:WORDS_PER_CUSTOMER].tolist():
            items, scores = engine.search(word)
            gains = np.isin(items, bought).astype(np.float64)
            if gains.any():
                asked = replace(
                    query,
                    listed=Listed(items, scores),
                    context=replace(query.context, search_term=word),
                )
                found.append(JudgedList(asked, gains, np.ones(len(items))))
    return found


class _TitleEngine:
    """SQLite's full-text search over titles."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._words = [set(title_words(item)) for item in items]
        counts: dict[str, int] = {}
        for words in self._words:
            for word in words:
                counts[word] = counts.get(word, 0) + 1
        least, most = WORD_ITEMS
        self._asked = {word for word, count in counts.items() if least <= count <= most}
        self._titles = sqlite3.connect(":memory:")
        self._titles.execute("CREATE VIRTUAL TABLE titles USING fts5(title)")
        self._titles.executemany(
            "INSERT INTO titles (rowid, title) VALUES (?, ?)",
            ((number, item.title) for number, item in enumerate(items)),
        )

    def words(self, item: int) -> set[str]:
        """The words of a title that are queries."""
        return self._words[item] & self._asked

    def search(self, word: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The best by BM25 (Robertson, Zaragoza 2009), with scores where higher is better."""
        rows = self._titles.execute(
            "SELECT rowid, -bm25(titles) FROM titles WHERE titles MATCH ? "
            "ORDER BY bm25(titles), rowid LIMIT ?",
            (f'"{word}"', LIST_LENGTH),
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
    every = Placement(
        name="rerank", blend=dict.fromkeys(names, 0.5), fallback=(), max_shift=max_shift
    )
    nobody = every.with_blend({name: 0.5 for name in names if name in EVERYBODY})
    context = RunContext(Provenance("benchmark", "", ""))
    learning = build(known, recipe, context=context, placements=(every,))
    lists = judged(learning)
    placements = [learnt_weights(learning, one, lists) for one in (every, nobody)]
    bundle = build(later, recipe, context=context, placements=(every,))
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
    """Somebody searches; a stranger's truth is that of a customer of whom nothing is known."""
    person = customers[int(rng.integers(len(customers)))]
    chances = shop.purchase_probabilities(person.removeprefix("u:"), now)
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
    query = Query(now=now) if stranger else data.queries([person], now=now)[0]
    asked = replace(query, listed=listed, context=Context(search_term=term))
    return JudgedList(asked, gains, np.ones(len(page)))


def _measured(
    protocol: str,
    asked: Sequence[JudgedList],
    data: TrainingData,
    ours: tuple[Bundle, Placement],
    unpersonal: tuple[Bundle, Placement],
    *,
    seed: int,
) -> list[Row]:
    counts = buyers(data)
    queries = [one.query for one in asked]
    listed = [one.query.listed.items for one in asked if one.query.listed is not None]
    orders = {
        OURS: _orders(queries, *ours),
        "unpersonalised ranker": _orders(queries, *unpersonal),
        "engine": [np.arange(len(items)) for items in listed],
        "popularity": [
            np.argsort(-np.where(items >= 0, counts[items], -1.0), kind="stable")
            for items in listed
        ],
    }
    measured = {
        name: {METRIC: graded_ndcg([one.gains for one in asked], by_list, K)}
        for name, by_list in orders.items()
    }
    return rows_of(protocol, measured, ours=OURS, rng=np.random.default_rng(seed))


def _orders(
    queries: Sequence[Query], bundle: Bundle, placement: Placement
) -> list[NDArray[np.intp]]:
    live_catalog = LiveCatalog.of(bundle.catalog)
    return [ranking.order for ranking in rerank(bundle, queries, placement, live_catalog)]


def graded_ndcg(
    gains: Sequence[NDArray[np.float64]], orders: Sequence[NDArray[np.intp]], k: int
) -> NDArray[np.float64]:
    """Σ gain_r / log₂(r + 1) of the first k over that of the best order, per list; NaN where no
    item has a gain (Järvelin, Kekäläinen: Cumulated gain-based evaluation, TOIS 2002)."""
    discounts = 1.0 / np.log2(np.arange(2, k + 2))

    def gathered(values: NDArray[np.float64]) -> float:
        best = values[:k]
        return float(best @ discounts[: len(best)])

    ideal = np.array([gathered(np.sort(gain)[::-1]) for gain in gains])
    reached = np.array([gathered(gain[order]) for gain, order in zip(gains, orders, strict=True)])
    unknown = np.full(len(gains), np.nan)
    return np.asarray(np.divide(reached, ideal, out=unknown, where=ideal > 0))
