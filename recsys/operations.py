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
from recsys.errors import InvalidQuery
from recsys.ids import NONE, Numbers
from recsys.placements import Level, Placement
from recsys.query import Contributions, Mask, Query, ScoredItems, Scorer, Scores
from recsys.shelf import Shelf
from recsys.top_n import EMPTY, top_n_of

SEGMENT_MODELS = frozenset({"popularity_by_country", "popularity_by_category"})
EVERYBODY_MODELS = frozenset({"popularity", "trending"})
ENGINE = "engine"
"""The source of an item of a given list on which no model has an opinion."""
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
    eligible = shelf.eligible(queries[0].now) if queries else np.empty(0, np.bool_)
    hidden = [
        _hidden(query, placement, NONE if exclude is None else exclude[row])
        for row, query in enumerate(queries)
    ]
    blended = blend(bundle, queries, placement, eligible, hidden, n)
    answers = [
        _answer(query, row, scored, chief, blended.scorers, explain=explain)
        for row, (query, scored, chief) in enumerate(
            zip(queries, blended.best, blended.chiefs, strict=True)
        )
    ]
    if placement.fallback:
        answers = _fill(bundle, queries, placement, eligible, hidden, n, answers)
    return answers


def rerank(bundle: Bundle, queries: Sequence[Query], placement: Placement) -> list[Ranking]:
    """The personal order of each query's `listed` items; every item of the list stays in it.

    score = engine_weight · engine + Σ weight · model, each scaled to at most 1 within the list;
    engine is the engine's score where it gave one for every item, else 1 / log₂(position + 2). What
    the person has refused goes to the end.
    """
    listed = [query.listed for query in queries]
    if any(given is None for given in listed):
        raise InvalidQuery("rerank needs the list to order; send its items.")
    known = [given.items[given.items >= 0] for given in listed if given is not None]
    scorers = condition(bundle, queries, placement.models)
    scores = {name: scorer.score(known) for name, scorer in scorers.items()}
    rankings = []
    for row, (query, given) in enumerate(zip(queries, listed, strict=True)):
        if given is None:
            continue
        places = np.flatnonzero(given.items >= 0)
        parts = {ENGINE: placement.engine_weight * _engine_scores(given.scores)}
        for name, by_row in scores.items():
            part = np.zeros(len(given.items), np.float32)
            part[places] = placement.blend[name] * _scaled(by_row[row])
            parts[name] = part
        rankings.append(_ranking(parts, last=np.isin(given.items, query.refused)))
    return rankings


@dataclass(frozen=True, slots=True)
class Blended:
    """The blend of a batch: each row's best items, their main sources, and the scorers behind."""

    best: list[ScoredItems]
    chiefs: list[list[str]]
    scorers: Mapping[str, Scorer]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The union of what the models put forward for one query, with every model's scaled score.

    `parts` is models × items, float32, not negative; 0 where a model has no opinion.
    """

    numbers: Numbers
    parts: NDArray[np.float32]


def blend(
    bundle: Bundle,
    queries: Sequence[Query],
    placement: Placement,
    eligible: Mask,
    hidden: Sequence[Numbers],
    n: int,
) -> Blended:
    """The weighted sum over the candidates, cut at n.

    Where none of a placement's personal models has an opinion, its blend has none either: weights
    that are right beside a history are not those for a stranger, who is left to the fallback.
    """
    models = placement.models
    personal = np.array([name not in EVERYBODY_MODELS | SEGMENT_MODELS for name in models])
    scorers = condition(bundle, queries, models)
    weights = np.array([placement.blend[name] for name in models], np.float32)
    best: list[ScoredItems] = []
    chiefs: list[list[str]] = []
    for candidates in gather(scorers, placement.candidates, eligible, hidden):
        if personal.any() and not candidates.parts[personal].any():
            best.append(EMPTY)
            chiefs.append([])
            continue
        weighted = weights[:, None] * candidates.parts
        scored = top_n_of(candidates.numbers, weighted.sum(axis=0), n)
        best.append(scored)
        places = np.searchsorted(candidates.numbers, scored.numbers)
        heaviest = weighted[:, places].argmax(axis=0)
        chiefs.append([models[index] for index in heaviest.tolist()])
    return Blended(best, chiefs, scorers)


def gather(
    scorers: Mapping[str, Scorer], n: int, eligible: Mask, hidden: Sequence[Numbers]
) -> list[Candidates]:
    """The union of each scorer's n best per row without the hidden items, scored by all of them.

    Each model's scores are divided by the Euclidean norm of what it retrieved for the row, hidden
    items included, so that models of any scale can be added. Also what a blend's weights are
    chosen on: the same candidates and scales as in serving.
    """
    n_fetch = n + max((len(numbers) for numbers in hidden), default=0)
    retrieved = [scorer.retrieve(n_fetch, eligible) for scorer in scorers.values()]
    unions = []
    for row, numbers_hidden in enumerate(hidden):
        union = np.unique(np.concatenate([NONE, *(by_row[row].numbers for by_row in retrieved)]))
        if len(numbers_hidden):
            union = union[~np.isin(union, numbers_hidden)]
        unions.append(union)
    scores = [scorer.score(unions) for scorer in scorers.values()]
    gathered = []
    for row, union in enumerate(unions):
        parts = np.zeros((len(scorers), len(union)), np.float32)
        for index, (by_row, found) in enumerate(zip(scores, retrieved, strict=True)):
            norm = float(np.linalg.norm(np.maximum(found[row].scores, 0.0)))
            if norm > 0:
                parts[index] = np.maximum(np.nan_to_num(by_row[row], nan=0.0), 0.0) / norm
        gathered.append(Candidates(union, parts))
    return gathered


def condition(bundle: Bundle, queries: Sequence[Query], names: Sequence[str]) -> dict[str, Scorer]:
    """Every named model's scorer for the batch; InvalidQuery where the bundle lacks one."""
    missing = [name for name in names if name not in bundle.models]
    if missing:
        raise InvalidQuery(
            f"Bundle {bundle.model_version} has no model {missing[0]!r}; "
            f"it has {', '.join(sorted(bundle.models))}."
        )
    return {name: bundle.models[name].condition(queries) for name in names}


def _hidden(query: Query, placement: Placement, exclude: Numbers) -> Numbers:
    parts = [query.seeds, query.refused, exclude]
    if placement.repeats == "exclude_history":
        parts.append(query.history.items)
    elif placement.repeats == "exclude_purchased":
        parts.append(query.history.purchases().items)
    hidden = np.unique(np.concatenate(parts))
    return hidden[hidden >= 0]


def _scaled(scores: Scores) -> Scores:
    """Scores over their best, so that the best is 1; no opinion is 0, and so is a best ≤ 0."""
    filled = np.nan_to_num(scores, nan=0.0)
    best = filled.max(initial=0.0)
    if best <= 0:
        return np.zeros_like(filled)
    return np.asarray(np.maximum(filled, 0.0) / best, np.float32)


def _engine_scores(scores: Scores) -> Scores:
    if len(scores) and np.isfinite(scores).all() and scores.max() > scores.min():
        low, high = scores.min(), scores.max()
        return np.asarray((scores - low) / (high - low), np.float32)
    return np.asarray(1.0 / np.log2(np.arange(len(scores)) + 2.0), np.float32)


def _ranking(parts: Mapping[str, Scores], *, last: Mask) -> Ranking:
    names = list(parts)
    stacked = np.stack([parts[name] for name in names])
    totals = np.where(last, np.float32(-1.0), stacked.sum(axis=0))
    order = np.argsort(-totals, kind="stable")
    heaviest = stacked[:, order].argmax(axis=0)
    return Ranking(order, totals[order], tuple(names[index] for index in heaviest.tolist()))


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


def _fill(
    bundle: Bundle,
    queries: Sequence[Query],
    placement: Placement,
    eligible: Mask,
    hidden: Sequence[Numbers],
    n: int,
    answers: list[Answer],
) -> list[Answer]:
    """Lengthens short answers from the fallback models in their order, then from the catalogue."""
    filled = list(answers)
    for name in (*placement.fallback, CATALOG):
        short = [row for row, answer in enumerate(filled) if len(answer.items) < n]
        if not short:
            return filled
        if name != CATALOG and name not in bundle.models:
            continue
        taken = [np.union1d(hidden[row], filled[row].numbers) for row in short]
        n_fetch = n + max(len(numbers) for numbers in taken)
        chosen = [queries[row] for row in short]
        if name == CATALOG:
            sellable = np.flatnonzero(eligible)[:n_fetch].astype(np.int32)
            retrieved = [ScoredItems(sellable, np.zeros(len(sellable), np.float32))] * len(short)
        else:
            retrieved = bundle.models[name].condition(chosen).retrieve(n_fetch, eligible)
        for row, scored, numbers_taken in zip(short, retrieved, taken, strict=True):
            free = ~np.isin(scored.numbers, numbers_taken)
            more = [
                Recommendation(number, 0.0, name, _level(name, queries[row]))
                for number in scored.numbers[free].tolist()[: n - len(filled[row].items)]
            ]
            filled[row] = Answer((*filled[row].items, *more))
    return filled
