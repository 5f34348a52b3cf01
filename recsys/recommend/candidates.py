"""From the models of a placement to scored candidates: retrieve, blend, rank, boost.

Serving uses the same functions as the fitting of blend weights and rankers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.errors import InvalidQuery
from recsys.ids import NONE, Mask, Numbers, Scores
from recsys.kernels import scaled_into, union
from recsys.models.protocol import ScoredItems, Scorer
from recsys.models.registry import known_family
from recsys.models.scoring.top_n import top_n_of
from recsys.query.query import Query
from recsys.ranking.ranker import Ranker
from recsys.recommend.rule_engine import ListLimits, RuleEngine
from recsys.recommend.suppression import Suppression


@dataclass(frozen=True, slots=True)
class Candidates:
    """The union of the items that the models retrieve for one query, scored by every model.

    `numbers` ascend; `parts` are the scaled scores, models × items, float32, not negative; 0 where
    a model has no opinion.
    """

    numbers: Numbers
    parts: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"Candidates({len(self.numbers)} items, {len(self.parts)} models)"


def gather(
    scorers: Mapping[str, Scorer], n: int, eligible: Mask, excluded: Sequence[Numbers]
) -> list[Candidates]:
    """Per row the union of each scorer's n best items without the excluded ones, scored by all.

    Each model's scores are divided by the Euclidean norm of its n best for the row, excluded items
    among them, so that models of any scale can be added. A row's candidates do not depend on the
    exclusions of other rows, and its scales not on its own either: blend weights and rankers are
    fitted on the candidates and scales that they are served with.
    """
    n_fetch = n + max((len(numbers) for numbers in excluded), default=0)
    retrieved = [scorer.retrieve(n_fetch, eligible) for scorer in scorers.values()]
    unions = []
    for row, out in enumerate(excluded):
        n_row = n + len(out)
        numbers = np.concatenate([NONE, *(by_row[row].numbers[:n_row] for by_row in retrieved)])
        unions.append(union(numbers, out, len(eligible)))
    scores = [scorer.score(unions) for scorer in scorers.values()]
    gathered = []
    for row, numbers in enumerate(unions):
        parts = np.empty((len(scorers), len(numbers)), np.float32)
        for part, by_row, of_model in zip(parts, scores, retrieved, strict=True):
            scaled_into(part, by_row[row], of_model[row].scores[:n])
        gathered.append(Candidates(numbers, parts))
    return gathered


@dataclass(frozen=True, slots=True)
class BlendedCandidates:
    """One query's candidates and their weighted sums."""

    candidates: Candidates
    scores: Scores = field(repr=False)

    def where(self, kept: Mask) -> BlendedCandidates:
        """The candidates of a mask."""
        numbers, parts = self.candidates.numbers[kept], self.candidates.parts[:, kept]
        return BlendedCandidates(Candidates(numbers, parts), self.scores[kept])


def blended(
    candidates: Candidates, weights: NDArray[np.float32], models: Sequence[str]
) -> BlendedCandidates:
    """Σ weight · part per candidate; `models` name the parts.

    No candidates where the blend has personal models and none of them has an opinion: its weights
    do not suit a query without a history, which is left to the fallback.
    """
    personal = np.array([_is_personal(name) for name in models])
    personal &= weights > 0
    if personal.any() and not candidates.parts[personal].any():
        candidates = Candidates(NONE, np.empty((len(models), 0), np.float32))
    return BlendedCandidates(candidates, weights @ candidates.parts)


def _is_personal(name: str) -> bool:
    family = known_family(name)
    return family is None or family.level == "individual"


def best_of(row: BlendedCandidates, n: int) -> BlendedCandidates:
    """The n candidates with the highest positive scores (ties: the lower number), by number."""
    kept = np.flatnonzero(row.scores > 0)
    if len(kept) > n:
        kept = kept[np.argsort(-row.scores[kept], kind="stable")[:n]]
    return row.where(np.isin(np.arange(len(row.scores)), kept))


def ranked(
    ranker: Ranker,
    queries: Sequence[Query],
    rows: Sequence[BlendedCandidates],
    weights: NDArray[np.float32],
) -> list[BlendedCandidates]:
    """The best candidates of each row, scored in the ranker's order on the scale of the blend.

    The candidate at rank r gets the r-th largest sum over the models that the ranker was fitted
    with. The other models, on which it could not be fitted (session models: no visit is under way
    at the start of a validation period), are added with their blend weights.
    """
    n_fitted = len(ranker.models)
    best = [best_of(row, ranker.candidates) for row in rows]
    parts = [row.candidates.parts[:n_fitted] for row in best]
    sums = [weights[:n_fitted] @ part for part in parts]
    orders = ranker.scores(queries, [row.candidates.numbers for row in best], parts, sums)
    return [
        BlendedCandidates(
            row.candidates,
            _in_order(order, row_sums) + weights[n_fitted:] @ row.candidates.parts[n_fitted:],
        )
        for row, order, row_sums in zip(best, orders, sums, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Blend:
    """The blended candidates of a batch with the models, weights and scorers behind them.

    `weights[i]` is the weight of `models[i]`, whose scores are part i of the candidates.
    """

    rows: Sequence[BlendedCandidates] = field(repr=False)
    models: tuple[str, ...]
    weights: NDArray[np.float32]
    scorers: Mapping[str, Scorer] = field(repr=False)

    def best(self, row: int, n: int | None) -> ScoredItems:
        """The row's n best candidates, best first; all of them where n is None."""
        numbers, scores = self.rows[row].candidates.numbers, self.rows[row].scores
        return top_n_of(numbers, scores, len(numbers) or 1 if n is None else n)

    def sources(self, row: int, numbers: Numbers) -> list[str]:
        """The model that contributes most to the score of each of these candidates."""
        candidates = self.rows[row].candidates
        columns = np.searchsorted(candidates.numbers, numbers)
        heaviest = (self.weights[:, None] * candidates.parts[:, columns]).argmax(axis=0)
        return [self.models[index] for index in heaviest.tolist()]


def blend_candidates(
    bundle: Bundle,
    queries: Sequence[Query],
    placement: Placement,
    limits: ListLimits,
    suppressions: Sequence[Suppression],
) -> Blend:
    """Retrieves each row's candidates, blends and ranks them, and applies suppression and boosts.

    A ranker orders the best candidates of the blend; it sees the scores of all its models, also of
    those without a weight.
    """
    ranker = bundle.rankers.get(placement.name)
    models = placement.models
    if ranker is not None:
        models = (*ranker.models, *(name for name in models if name not in ranker.models))
    weights = np.array([placement.blend.get(name, 0.0) for name in models], np.float32)
    scorers = condition(bundle, queries, models)
    out = [np.concatenate([row.excluded, row.suppressed]) for row in suppressions]
    rows = [
        blended(candidates, weights, models)
        for candidates in gather(scorers, placement.candidates, limits.eligible, out)
    ]
    if ranker is not None:
        rows = ranked(ranker, queries, rows, weights)
    boosted = [
        _boosted(row, suppression, limits.rules)
        for row, suppression in zip(rows, suppressions, strict=True)
    ]
    return Blend(boosted, models, weights, scorers)


def _boosted(
    row: BlendedCandidates, suppression: Suppression, rules: RuleEngine
) -> BlendedCandidates:
    numbers = row.candidates.numbers
    scores = rules.boosted(numbers, suppression.boosted(numbers, row.scores))
    return BlendedCandidates(row.candidates, scores)


def condition(bundle: Bundle, queries: Sequence[Query], names: Sequence[str]) -> dict[str, Scorer]:
    """The scorer of each named model for a batch; InvalidQuery where the bundle lacks one."""
    missing = [name for name in names if name not in bundle.models]
    if missing:
        raise InvalidQuery(
            f"Bundle {bundle.model_version} has no model {missing[0]!r}; "
            f"it has {', '.join(sorted(bundle.models))}."
        )
    return {name: bundle.models[name].condition(queries) for name in names}


def _in_order(order: Scores, sums: Scores) -> Scores:
    """The sums, assigned by descending `order`; each a little below the one before, so that equal
    sums keep the order too."""
    fading = 1.0 - np.arange(len(sums)) * 1e-6
    assigned = np.empty(len(sums), np.float32)
    assigned[np.argsort(-order, kind="stable")] = np.sort(sums)[::-1] * fading
    return assigned
