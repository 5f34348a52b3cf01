"""Learns how much the engine, what everybody clicks and each model weigh when a list is reordered.

From lists that were shown after a cut and what was taken of them, seen from before it: a
conditional logit with a known offset for the position (McFadden 1974; Joachims et al., Unbiased
learning-to-rank with biased feedback, WSDM 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.dataset.impressions import BOUGHT, CLICKED, IN_CART
from recsys.dataset.training_data import TrainingData
from recsys.models.popularity.position_bias import LAST_POSITION, position_bias
from recsys.query.account import with_account
from recsys.query.builder import build_query
from recsys.query.facts import NO_FACTS
from recsys.query.query import Context, Listed, Query
from recsys.recommend.rerank_scores import ENGINE, scores_by_source

AT_ONCE = 500
"""Lists that are conditioned in one batch."""
LEAST_LISTS = 50
"""With fewer lists of which something was taken, the weights stay as they are."""
LIST_GAINS = {CLICKED: 1.0, IN_CART: 2.0, BOUGHT: 4.0}
"""What each outcome is worth, in clicks."""
LARGEST_WEIGHT = 20.0
EVERYBODY = ("search_clicks", "popularity", "popularity_by_country", "trending")
"""Models that need no history: all that a stranger's list is ordered by beside the engine."""
SEVERITY = 1.0
"""How far positions are accounted for: in full, though `SearchClicksConfig.severity` does by half.
On shops whose true relevance is known (the synthetic one) strangers' lists need both: at .5 the
engine keeps weight that its positions alone have earned, and popularity by itself is level."""


@dataclass(frozen=True, slots=True)
class JudgedList:
    """A list to reorder, what each of its items turned out to be worth, and how probably each was
    looked at (1 where everything was)."""

    query: Query
    gains: NDArray[np.float64]
    examined: NDArray[np.float64]


def learnt_weights(
    bundle: Bundle, placement: Placement, judged: Sequence[JudgedList], *, reg: float = 1e-3
) -> Placement:
    """The placement with the weights under which what was taken is most probable.

    P(i | list) ∝ examined_i · exp(w · parts_i), w ≥ 0, every list counts alike, its items by their
    gains; `reg` · |w|² is added to the mean loss. The weights for strangers are learnt from the
    same lists without the personal models. A model that the placement names gets a weight even
    where it had none. The placement itself where fewer than LEAST_LISTS teach.
    """
    taught = [
        labelled for labelled in judged if labelled.gains.sum() > 0 and len(labelled.gains) > 1
    ]
    if len(taught) < LEAST_LISTS:
        return placement
    names = (ENGINE, *(name for name in placement.blend if name in bundle.models))
    of_everybody = [index for index, name in enumerate(names) if name in (ENGINE, *EVERYBODY)]
    parts = []
    for start in range(0, len(taught), AT_ONCE):
        queries = [labelled.query for labelled in taught[start : start + AT_ONCE]]
        queries = [with_account(query, placement.account_weight) for query in queries]
        parts += [
            np.stack([of_list[name] for name in names])
            for of_list in scores_by_source(bundle, queries, names[1:])
        ]
    gains = [labelled.gains for labelled in taught]
    offsets = [np.log(labelled.examined) for labelled in taught]
    weights = conditional_logit(parts, gains, offsets, reg=reg)
    impersonal = conditional_logit([part[of_everybody] for part in parts], gains, offsets, reg=reg)
    by_name = dict(zip(names, np.round(weights, 6).tolist(), strict=True))
    for_strangers = [names[index] for index in of_everybody]
    engine = by_name.pop(ENGINE)
    return placement.model_copy(
        update={
            "engine_weight": engine,
            "blend": {**placement.blend, **by_name},
            "stranger_blend": dict(
                zip(for_strangers, np.round(impersonal, 6).tolist(), strict=True)
            ),
        }
    )


def conditional_logit(
    parts: Sequence[NDArray[np.float32]],
    gains: Sequence[NDArray[np.float64]],
    offsets: Sequence[NDArray[np.float64]],
    *,
    reg: float,
) -> NDArray[np.float64]:
    """w ≥ 0 that minimises −mean over lists of Σ_i (g_i / Σ g) · log P(i | list) + reg · |w|².

    `parts` are sources × items. An empty answer of zeros does not occur: the bound of the largest
    weight keeps a perfectly separated source finite.
    """
    sizes = np.array([part.shape[1] for part in parts])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    features = np.concatenate(parts, axis=1).T.astype(np.float64)
    fixed = np.concatenate(offsets)
    wanted = np.concatenate([gain / gain.sum() for gain in gains]) / len(parts)
    share = np.repeat(1.0 / len(parts), sizes.sum())

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = features @ weights + fixed
        logits -= np.repeat(np.maximum.reduceat(logits, starts), sizes)
        exponents = np.exp(logits)
        sums = np.repeat(np.add.reduceat(exponents, starts), sizes)
        value = -float(wanted @ (logits - np.log(sums))) + reg * float(weights @ weights)
        slope = features.T @ (share * exponents / sums - wanted) + 2 * reg * weights
        return value, slope

    optimum = minimize(
        loss,
        np.full(features.shape[1], 0.5),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, LARGEST_WEIGHT)] * features.shape[1],
    )
    return np.asarray(optimum.x, np.float64)


def judged_lists(bundle: Bundle, known: TrainingData, later: TrainingData) -> list[JudgedList]:
    """The search results that were shown from `known.as_of` on, asked as the service would have
    been; listing pages too where no more than LEAST_LISTS searches were logged.

    `later` reaches beyond the lists; a query knows what happened before its list alone: `now` is
    the moment of the list, `session` the visit that it belongs to. How much of a list is looked at
    is learnt from `known`.
    """
    lists = later.impressions
    seen = position_bias(known.impressions) ** SEVERITY
    gain = np.zeros(4)
    for outcome, worth in LIST_GAINS.items():
        gain[outcome] = worth
    numbers = bundle.items.numbers(later.items.ids())
    terms = [*later.impressions.term_names.ids(), None]
    settings = bundle.query_settings()
    judged = []
    shown = np.flatnonzero(lists.times >= known.as_of.timestamp())
    searched = shown[lists.terms[shown] >= 0]
    for number in (searched if len(searched) > LEAST_LISTS else shown).tolist():
        term = terms[lists.terms[number]]
        rows = slice(int(lists.starts[number]), int(lists.starts[number + 1]))
        items = numbers[lists.items[rows]]
        places = np.minimum(lists.positions[rows], min(LAST_POSITION, len(seen) - 1))
        user = int(lists.users[number])
        now = datetime.fromtimestamp(float(lists.times[number]), UTC)
        facts = NO_FACTS
        if user >= 0:
            facts = later.facts(later.users.id(user), now=now).renumbered(numbers)
        query = build_query(facts, settings, now=now, context=Context(search_term=term))
        listed = Listed(items, np.full(len(items), np.nan, np.float32))
        query = replace(query, listed=listed)
        judged.append(JudgedList(query, gain[lists.outcomes[rows]], seen[places]))
    return judged
