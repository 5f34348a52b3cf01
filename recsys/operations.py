"""The questions a shop asks, answered from a bundle: `recommend`, `rerank`.

`similar` and `bought_together` are `recommend` on a placement whose models look at the seeds.
Retrieve, blend, exclude, fall back; every item knows its source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.bundle import Bundle
from recsys.candidates import (
    EVERYBODY_MODELS,
    SEGMENT_MODELS,
    blended,
    condition,
    gather,
    ranked,
)
from recsys.errors import InvalidQuery
from recsys.ids import NONE, Numbers
from recsys.journey import Factors, journey, seeded, shown_mask
from recsys.list_order import ENGINE, engine_part, engine_ranks, order_within, scaled, weighted
from recsys.placements import Level, Placement
from recsys.query import Contributions, Listed, Mask, Query, ScoredItems, Scorer, Scores
from recsys.shelf import Shelf
from recsys.top_n import top_n_of

CATALOG = "catalog"
"""The source of last resort: sellable items in catalogue order."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One item of an answer. `source` names the model that weighed most; `why` its evidence."""

    number: int
    score: float
    source: str
    level: Level
    why: Contributions = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A list for one query, best first."""

    items: tuple[Recommendation, ...]

    @property
    def numbers(self) -> Numbers:
        """The item numbers in order."""
        return np.array([item.number for item in self.items], np.int32)

    @property
    def level(self) -> Level | None:
        """The most personal level among the items; None for an empty answer."""
        levels: tuple[Level, ...] = ("individual", "session", "page", "segment", "everybody")
        present = {item.level for item in self.items}
        return next((level for level in levels if level in present), None)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The personal order of a given list: `order[0]` is the position of the new first item."""

    order: NDArray[np.intp]
    scores: NDArray[np.float32]
    sources: tuple[str, ...]


def recommend(
    bundle: Bundle,
    queries: Sequence[Query],
    placement: Placement,
    shelf: Shelf,
    n: int,
    *,
    exclude: Sequence[Numbers] | None = None,
    explain: bool = False,
) -> list[Answer]:
    """Each query's n best items for a placement; shorter only where nothing sellable is left.

    Seeds are never recommended; `exclude` names further items, row by row. A placement with an
    empty fallback may give a short or empty answer.
    """
    if n < 1:
        raise InvalidQuery(f"n is {n}; ask for at least 1 item.")
    eligible = _eligible(shelf, placement, queries)
    asked = [seeded(query, placement) for query in queries]
    journeys = [
        journey(
            query,
            placement,
            shelf,
            bundle.models,
            exclude=NONE if exclude is None else exclude[row],
        )
        for row, query in enumerate(asked)
    ]
    hidden = [np.union1d(one.hidden, one.resting) for one in journeys]
    factors = [one.factors for one in journeys]
    blended = blend(bundle, asked, placement, eligible, hidden, n, factors)
    answers = [
        _answer(query, row, scored, chief, blended.scorers, explain=explain)
        for row, (query, scored, chief) in enumerate(
            zip(queries, blended.best, blended.chiefs, strict=True)
        )
    ]
    if placement.fallback:
        filling = Filling(bundle, queries, asked, placement, eligible, n)
        answers = filling.lengthened(answers, hidden, factors)
        if any(len(one.resting) for one in journeys):
            answers = filling.lengthened(answers, [one.hidden for one in journeys], factors)
    return answers


def rerank(bundle: Bundle, queries: Sequence[Query], placement: Placement) -> list[Ranking]:
    """The personal order of each query's `listed` items; every item of the list stays in it.

    score = engine_weight · engine + Σ weight · model, over the parts of `list_parts`; who has no
    history gets the placement's `stranger_blend`. No item moves more than `max_shift` places from
    the engine's order, but for what the person has refused, which goes to the end.
    """
    for_customers = {ENGINE: placement.engine_weight, **placement.blend}
    for_strangers = dict.fromkeys(for_customers, 0.0) | placement.stranger_blend
    rankings = []
    for query, parts in zip(queries, list_parts(bundle, queries, placement.models), strict=True):
        listed = _listed(query)
        is_stranger = not len(query.history) and placement.stranger_blend
        by_source = weighted(parts, for_strangers if is_stranger else for_customers)
        totals = by_source.sum(axis=0)
        last = np.isin(listed.items, query.refused)
        order = order_within(
            totals, engine_ranks(listed.scores), max_shift=placement.max_shift, last=last
        )
        names = tuple(parts)
        heaviest = by_source[:, order].argmax(axis=0).tolist()
        # What stands after a better one, because of the cap, is worth no more than that.
        scores = np.minimum.accumulate(np.where(last, np.float32(-1.0), totals)[order])
        rankings.append(Ranking(order, scores, tuple(names[index] for index in heaviest)))
    return rankings


def list_parts(
    bundle: Bundle, queries: Sequence[Query], models: Sequence[str]
) -> list[dict[str, Scores]]:
    """What the engine and each model think of every item of the `listed` lists, 0 to 1 in a list.

    Source → a value per item; 0 where a model has no opinion or the bundle does not know the item.
    Also what the weights of reranking are learnt on.
    """
    listed = [_listed(query) for query in queries]
    known = [np.flatnonzero(given.items >= 0) for given in listed]
    asked = [given.items[places] for given, places in zip(listed, known, strict=True)]
    scores = {
        name: scorer.score(asked) for name, scorer in condition(bundle, queries, models).items()
    }
    found = []
    for row, (given, places) in enumerate(zip(listed, known, strict=True)):
        parts = {ENGINE: engine_part(given.scores)}
        for name, by_row in scores.items():
            part = np.zeros(len(given.items), np.float32)
            part[places] = scaled(by_row[row])
            parts[name] = part
        found.append(parts)
    return found


def _listed(query: Query) -> Listed:
    if query.listed is None:
        raise InvalidQuery("rerank needs the list to order; send its items.")
    return query.listed


@dataclass(frozen=True, slots=True)
class Blended:
    """The blend of a batch: each row's best items, their main sources, and the scorers behind."""

    best: list[ScoredItems]
    chiefs: list[list[str]]
    scorers: Mapping[str, Scorer]


def blend(
    bundle: Bundle,
    queries: Sequence[Query],
    placement: Placement,
    eligible: Mask,
    hidden: Sequence[Numbers],
    n: int,
    factors: Sequence[Factors | None],
) -> Blended:
    """The weighted sum over the candidates, put in order by the placement's ranker, times the
    factors of each row, cut at n.

    Where none of a placement's personal models has an opinion, its blend has none either: weights
    that are right beside a history are not those for a stranger, who is left to the fallback. A
    ranker orders the best candidates of the blend and sees the scores of all its models.
    """
    ranker = bundle.rankers.get(placement.name)
    models = placement.models
    if ranker is not None:
        models = (*ranker.models, *(name for name in models if name not in ranker.models))
    weights = np.array([placement.blend.get(name, 0.0) for name in models], np.float32)
    scorers = condition(bundle, queries, models)
    found = [
        blended(candidates, weights, models)
        for candidates in gather(scorers, placement.candidates, eligible, hidden)
    ]
    if ranker is not None:
        found = ranked(ranker, queries, found, weights)
    best: list[ScoredItems] = []
    chiefs: list[list[str]] = []
    for row, favoured in zip(found, factors, strict=True):
        scores = row.scores
        if favoured is not None:
            scores = scores * favoured.of(row.candidates.numbers)
        scored = top_n_of(row.candidates.numbers, scores, n)
        places = np.searchsorted(row.candidates.numbers, scored.numbers)
        best.append(scored)
        heaviest = (weights[:, None] * row.candidates.parts[:, places]).argmax(axis=0)
        chiefs.append([models[index] for index in heaviest.tolist()])
    return Blended(best, chiefs, scorers)


def _eligible(shelf: Shelf, placement: Placement, queries: Sequence[Query]) -> Mask:
    if not queries:
        return np.empty(0, np.bool_)
    now = queries[0].now
    shown = shown_mask(placement, shelf, now=now.timestamp())
    return shelf.eligible(now) if shown is None else shelf.eligible(now) & shown


def _answer(
    query: Query,
    row: int,
    scored: ScoredItems,
    chiefs: Sequence[str],
    scorers: Mapping[str, Scorer],
    *,
    explain: bool,
) -> Answer:
    return Answer(
        tuple(
            Recommendation(
                number,
                score,
                source,
                _level(source, query),
                scorers[source].explain(row, number) if explain else (),
            )
            for number, score, source in zip(
                scored.numbers.tolist(), scored.scores.tolist(), chiefs, strict=True
            )
        )
    )


def _level(source: str, query: Query) -> Level:
    if source in EVERYBODY_MODELS or source == CATALOG:
        return "everybody"
    if source in SEGMENT_MODELS:
        return "segment"
    if len(query.seeds):
        return "page"
    return "individual" if query.known else "session"


@dataclass(frozen=True, slots=True)
class Filling:
    """How short answers of a batch are lengthened: from the fallback models in their order, then
    from the catalogue. `asked` are the queries as the models see them."""

    bundle: Bundle
    queries: Sequence[Query]
    asked: Sequence[Query]
    placement: Placement
    eligible: Mask
    n: int

    def lengthened(
        self,
        answers: Sequence[Answer],
        hidden: Sequence[Numbers],
        factors: Sequence[Factors | None],
    ) -> list[Answer]:
        """The answers with n items each, as far as there is anything that is not hidden."""
        filled = list(answers)
        for name in (*self.placement.fallback, CATALOG):
            short = [row for row, answer in enumerate(filled) if len(answer.items) < self.n]
            if not short:
                break
            if name != CATALOG and name not in self.bundle.models:
                continue
            taken = [np.union1d(hidden[row], filled[row].numbers) for row in short]
            retrieved = self._retrieved(name, short, self.n + max(map(len, taken)))
            for row, scored, numbers_taken in zip(short, retrieved, taken, strict=True):
                free = _favoured(scored, ~np.isin(scored.numbers, numbers_taken), factors[row])
                more = [
                    Recommendation(number, 0.0, name, _level(name, self.queries[row]))
                    for number in free.tolist()[: self.n - len(filled[row].items)]
                ]
                filled[row] = Answer((*filled[row].items, *more))
        return filled

    def _retrieved(self, name: str, rows: Sequence[int], n: int) -> list[ScoredItems]:
        if name == CATALOG:
            sellable = np.flatnonzero(self.eligible)[:n].astype(np.int32)
            return [ScoredItems(sellable, np.zeros(len(sellable), np.float32))] * len(rows)
        scorer = self.bundle.models[name].condition([self.asked[row] for row in rows])
        return scorer.retrieve(n, self.eligible)


def _favoured(scored: ScoredItems, free: Mask, factors: Factors | None) -> Numbers:
    """The free ones of the items, in the order of score times factor."""
    numbers = scored.numbers[free]
    if factors is None:
        return numbers
    scores = scored.scores[free] * factors.of(numbers)
    return numbers[np.argsort(-scores, kind="stable")]
