"""From a placement's models to ordered candidates: gather, blend, rank.

The same functions serve, choose a blend's weights and teach a ranker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.bundle import Bundle
from recsys.errors import InvalidQuery
from recsys.ids import NONE, Mask, Numbers, Scores
from recsys.kernels import scaled_into, union
from recsys.models.protocol import Scorer
from recsys.models.registry import MODELS
from recsys.query.query import Query
from recsys.ranking.ranker import Ranker


@dataclass(frozen=True, slots=True)
class Candidates:
    """The union of what the models put forward for one query, with every model's scaled score.

    `parts` is models × items, float32, not negative; 0 where a model has no opinion.
    """

    numbers: Numbers
    parts: NDArray[np.float32]


def gather(
    scorers: Mapping[str, Scorer], n: int, eligible: Mask, hidden: Sequence[Numbers]
) -> list[Candidates]:
    """The union of each scorer's n best per row without the hidden items, scored by all of them.

    Each model's scores are divided by the Euclidean norm of its n best for the row, hidden items
    included, so that models of any scale can be added. What a row gets depends on nothing that is
    hidden for others, and its scales not even on what is hidden for itself: a blend's weights are
    chosen, and a ranker is taught, on the same candidates and scales as in serving.
    """
    n_fetch = n + max((len(numbers) for numbers in hidden), default=0)
    retrieved = [scorer.retrieve(n_fetch, eligible) for scorer in scorers.values()]
    unions = []
    for row, numbers_hidden in enumerate(hidden):
        n_own = n + len(numbers_hidden)
        found = np.concatenate([NONE, *(by_row[row].numbers[:n_own] for by_row in retrieved)])
        unions.append(union(found, numbers_hidden, len(eligible)))
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
    scores: Scores

    def where(self, kept: Mask) -> BlendedCandidates:
        """Those of the candidates for which `kept` says so."""
        found = self.candidates
        return BlendedCandidates(
            Candidates(found.numbers[kept], found.parts[:, kept]), self.scores[kept]
        )


def blended(
    candidates: Candidates, weights: NDArray[np.float32], models: Sequence[str]
) -> BlendedCandidates:
    """Σ weight · part per candidate; no candidates where no personal model with a weight has an
    opinion, though the blend has such models."""
    personal = np.array([_is_personal(name) for name in models])
    personal &= weights > 0
    if personal.any() and not candidates.parts[personal].any():
        candidates = Candidates(NONE, np.empty((len(models), 0), np.float32))
    return BlendedCandidates(candidates, weights @ candidates.parts)


def _is_personal(name: str) -> bool:
    family = MODELS.get(name)
    return family is None or family.level == "individual"


def best_of(found: BlendedCandidates, n: int) -> BlendedCandidates:
    """The n candidates with the highest sums, still in ascending order of their numbers; ties are
    broken by number, and those that no model with a weight speaks for are left out."""
    kept = np.flatnonzero(found.scores > 0)
    if len(kept) > n:
        kept = kept[np.argsort(-found.scores[kept], kind="stable")[:n]]
    return found.where(np.isin(np.arange(len(found.scores)), kept))


def ranked(
    ranker: Ranker,
    queries: Sequence[Query],
    found: Sequence[BlendedCandidates],
    weights: NDArray[np.float32],
) -> list[BlendedCandidates]:
    """The best candidates with scores in the ranker's order, on the scale of the blend.

    The candidate that the ranker puts at place r gets the r-th largest sum over the models that the
    ranker was taught with. The others, on which it could learn nothing (nobody was in a visit when
    its periods began), are added with their weights as ever.
    """
    taught = len(ranker.models)
    best = [best_of(row, ranker.candidates) for row in found]
    parts = [row.candidates.parts[:taught] for row in best]
    sums = [weights[:taught] @ part for part in parts]
    orders = ranker.scores(queries, [row.candidates.numbers for row in best], parts, sums)
    return [
        BlendedCandidates(
            row.candidates,
            _in_order(order, of_taught) + weights[taught:] @ row.candidates.parts[taught:],
        )
        for row, order, of_taught in zip(best, orders, sums, strict=True)
    ]


def condition(bundle: Bundle, queries: Sequence[Query], names: Sequence[str]) -> dict[str, Scorer]:
    """Every named model's scorer for the batch; InvalidQuery where the bundle lacks one."""
    missing = [name for name in names if name not in bundle.models]
    if missing:
        raise InvalidQuery(
            f"Bundle {bundle.model_version} has no model {missing[0]!r}; "
            f"it has {', '.join(sorted(bundle.models))}."
        )
    return {name: bundle.models[name].condition(queries) for name in names}


def _in_order(order: Scores, sums: Scores) -> Scores:
    """The sums dealt out by descending order, each a little below the one before, so that equal
    ones keep the order too."""
    fading = 1.0 - np.arange(len(sums)) * 1e-6
    dealt = np.empty(len(sums), np.float32)
    dealt[np.argsort(-order, kind="stable")] = np.sort(sums)[::-1] * fading
    return dealt
