"""The questions a shop asks, answered from a bundle: `recommend`, `rerank`.

`similar` and `bought_together` are `recommend` on a placement whose models look at the seeds. What
happens to a list, in this order:

1. bar: what is not sellable now, what the placement does not show, what filters and exclusions of
   placement and request leave out, and of this person what is hidden or rests;
2. retrieve: each model puts its best of the rest forward, and scores what the others put forward;
3. blend: the weighted sum of their scores; 4. rank: the placement's ranker orders the best of it;
5. boost: factors of the person's journey, of placement and request;
6. choose: pins, quotas, diversity, one variant of a product (`list_rules`);
7. fill: what is missing comes from the fallback models, then from the catalogue (`filling`);
   first with all rules, then without those that give way;
8. explore: a bounded share of places goes to new items (`exploration`).

Every item knows its source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.live import LiveCatalog
from recsys.catalog.rules import NO_RULES, Rule, Rules
from recsys.errors import InvalidQuery
from recsys.ids import NONE, Mask, Numbers
from recsys.models.protocol import Scorer
from recsys.models.scoring.top_n import top_n_of
from recsys.query.account import with_account
from recsys.query.query import Query
from recsys.recommend.answers import CATALOG, PINNED, Answer, Recommendation, level_of
from recsys.recommend.candidates import (
    BlendedCandidates,
    blended,
    condition,
    gather,
    ranked,
)
from recsys.recommend.diagnostics import diagnose as diagnosed
from recsys.recommend.exploration import explore
from recsys.recommend.fallback import CandidatePool, Fallback
from recsys.recommend.rerank_rules import rerank_effects
from recsys.recommend.rerank_scores import (
    ENGINE,
    engine_ranks,
    listed_of,
    order_within,
    scores_by_source,
    weighted,
)
from recsys.recommend.rule_engine import Choice, RuleEngine, list_rules
from recsys.recommend.suppression import Suppression, query_for, shown_mask, suppression

__all__ = [
    "CATALOG",
    "ENGINE",
    "PINNED",
    "Answer",
    "Ranking",
    "Recommendation",
    "recommend",
    "rerank",
]

MASKED_FROM = 20
"""More excluded items than these are taken out of what models may put forward, instead of asking
each model for so many more."""
STOCK = "stock"
"""The rule that what cannot be bought now is not shown, as diagnostics name it."""


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
    live_catalog: LiveCatalog,
    n: int,
    *,
    exclude: Sequence[Numbers] | None = None,
    rules: Rules = NO_RULES,
    personal: Sequence[Rule] = (),
    explain: bool = False,
    diagnose: bool = False,
    rng: Generator | None = None,
) -> list[Answer]:
    """Each query's n best items for a placement; shorter only where nothing sellable is left.

    Seeds are never recommended; `exclude` names further items, row by row; the other variants of
    both are left out too. `rules` of the request and the `personal` ones of who asks hold beside
    the placement's, for all rows; a rule for a segment where all rows are of it. A placement with
    an empty fallback may give a short or empty answer. New items are drawn in where the placement
    explores and there is an `rng`.
    """
    if n < 1:
        raise InvalidQuery(f"n is {n}; ask for at least 1 item.")
    if not queries:
        return []
    now = queries[0].now
    in_force = list_rules(
        live_catalog,
        now,
        (*placement.rules, *personal),
        rules,
        segments=set(queries[0].segments).intersection(*(query.segments for query in queries)),
    )
    sellable = live_catalog.eligible(now)
    shown = shown_mask(placement, live_catalog, now=now.timestamp())
    eligible = in_force.allowed(sellable if shown is None else sellable & shown)
    if len(queries) == 1 and exclude is not None and len(exclude[0]) > MASKED_FROM:
        eligible = _without(eligible, live_catalog.columns.with_variants(exclude[0]))
        exclude = None
    if len(in_force.hidden) > MASKED_FROM:
        eligible = _without(eligible, in_force.hidden)
        in_force = replace(in_force, hidden=NONE)
    asked = [query_for(query, placement) for query in queries]
    journeys = [
        _journey(bundle, query, placement, live_catalog, in_force, out)
        for query, out in zip(asked, exclude or [NONE] * len(asked), strict=True)
    ]
    blended = blend(bundle, asked, placement, eligible, journeys, in_force)
    n_kept = n if in_force.take_the_best else None
    pools = [blended.best(row, n_kept) for row in range(len(asked))]
    filled = Fallback(bundle, asked, placement, in_force, eligible, n).chosen(pools, journeys)
    answers = [
        _answer(query, row, pool, choice, blended, explain=explain)
        for row, (query, (pool, choice)) in enumerate(zip(queries, filled, strict=True))
    ]
    if placement.exploration is not None and rng is not None:
        answers = [
            explore(
                answer,
                query,
                bundle,
                live_catalog,
                placement.exploration,
                eligible=eligible,
                suppression=own,
                rules=in_force,
                rng=rng,
            )
            for answer, query, own in zip(answers, asked, journeys, strict=True)
        ]
    if not diagnose:
        return answers
    barriers = [(STOCK, sellable), *(() if shown is None else ((placement.shows, shown),))]
    reports = diagnosed(
        blended.scorers,
        len(asked),
        placement.candidates,
        barriers=[*barriers, *in_force.barriers],
        rules=in_force,
        journeys=journeys,
        chosen=[choice.effects for _, choice in filled],
    )
    return [
        replace(answer, diagnostics=report) for answer, report in zip(answers, reports, strict=True)
    ]


def rerank(
    bundle: Bundle,
    queries: Sequence[Query],
    placement: Placement,
    live_catalog: LiveCatalog,
    *,
    rules: Rules = NO_RULES,
    personal: Sequence[Rule] = (),
) -> list[Ranking]:
    """The personal order of each query's `listed` items; every item of the list stays in it.

    score = Σ weight · score of the source (`scores_by_source`) · boost factors. The weights are
    `engine_weight` and the blend of the placement; without a history its `stranger_blend`, and
    the engine's order alone for a person who asked for the shop's order. No item moves more than
    `max_shift` positions from the engine's order, but for excluded and refused items, which go to
    the end with a score of −1. `rules` of the request and the `personal` ones hold beside those of
    the placement, for all rows; of the placement's those that are in force for the row's segments.
    """
    queries = [with_account(query, placement.account_weight) for query in queries]
    rankings = []
    sources = scores_by_source(bundle, queries, placement.models)
    for query, scores in zip(queries, sources, strict=True):
        listed = listed_of(query)
        in_force = (rule for rule in placement.rules if rule.in_force(query.now, query.segments))
        effects = rerank_effects((*in_force, rules, *personal), listed.items, live_catalog)
        in_shop_order = query.preferences.order == "shop"
        if in_shop_order:
            scores = {ENGINE: scores[ENGINE]}
        by_source = weighted(scores, _rerank_weights(query, placement)) * effects.factors
        totals = by_source.sum(axis=0)
        last = effects.excluded | np.isin(listed.items, query.refused)
        order = order_within(
            totals,
            engine_ranks(listed.scores),
            max_shift=0 if in_shop_order else placement.max_shift,
            last=last,
        )
        names = tuple(scores)
        heaviest = by_source[:, order].argmax(axis=0).tolist()
        # An item that `max_shift` holds below a better one scores no more than that one.
        final = np.minimum.accumulate(np.where(last, np.float32(-1.0), totals)[order])
        rankings.append(Ranking(order, final, tuple(names[index] for index in heaviest)))
    return rankings


def _rerank_weights(query: Query, placement: Placement) -> Mapping[str, float]:
    """The weight of each source for whoever asks."""
    if query.preferences.order == "shop":
        return {ENGINE: 1.0}
    weights = {ENGINE: placement.engine_weight, **placement.blend}
    if placement.stranger_blend and not len(query.history):
        return dict.fromkeys(weights, 0.0) | placement.stranger_blend
    return weights


@dataclass(frozen=True, slots=True)
class Blended:
    """The blend of a batch: each row's candidates with their sums, and the scorers behind them.

    `weights` are those of `models`, in their order.
    """

    rows: Sequence[BlendedCandidates]
    models: tuple[str, ...]
    weights: NDArray[np.float32]
    scorers: Mapping[str, Scorer]

    def best(self, row: int, n: int | None) -> CandidatePool:
        """The row's n best candidates in their order; all of them where n is None."""
        found = self.rows[row]
        numbers = found.candidates.numbers
        return CandidatePool.of(
            top_n_of(numbers, found.scores, len(numbers) or 1 if n is None else n)
        )

    def sources(self, row: int, numbers: Numbers) -> list[str]:
        """The model that weighed most in each of these candidates' scores."""
        candidates = self.rows[row].candidates
        places = np.searchsorted(candidates.numbers, numbers)
        heaviest = (self.weights[:, None] * candidates.parts[:, places]).argmax(axis=0)
        return [self.models[index] for index in heaviest.tolist()]


def blend(
    bundle: Bundle,
    queries: Sequence[Query],
    placement: Placement,
    eligible: Mask,
    journeys: Sequence[Suppression],
    rules: RuleEngine,
) -> Blended:
    """The weighted sum over the candidates, put in order by the placement's ranker, times the
    factors of each row and of the rules' boosts.

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
        for candidates in gather(
            scorers,
            placement.candidates,
            eligible,
            [np.concatenate([own.hidden, own.resting]) for own in journeys],
        )
    ]
    if ranker is not None:
        found = ranked(ranker, queries, found, weights)
    return Blended(
        [
            BlendedCandidates(
                row.candidates,
                rules.boosted(
                    row.candidates.numbers, own.favoured(row.candidates.numbers, row.scores)
                ),
            )
            for row, own in zip(found, journeys, strict=True)
        ],
        models,
        weights,
        scorers,
    )


def _without(eligible: Mask, numbers: Numbers) -> Mask:
    left = eligible.copy()
    left[numbers[numbers >= 0]] = False
    return left


def _journey(
    bundle: Bundle,
    query: Query,
    placement: Placement,
    live_catalog: LiveCatalog,
    rules: RuleEngine,
    exclude: Numbers,
) -> Suppression:
    """What is hidden from this person's list, what rests, and what is favoured."""
    variants = live_catalog.columns.with_variants(np.concatenate([query.seeds, exclude]))
    return suppression(
        query,
        placement,
        live_catalog,
        bundle.models,
        exclude=np.concatenate([variants, rules.hidden]) if len(rules.hidden) else variants,
    )


def _answer(
    query: Query, row: int, pool: CandidatePool, choice: Choice, blended: Blended, *, explain: bool
) -> Answer:
    places = np.array(choice.places, np.intp)
    numbers, scores = pool.numbers[places], pool.scores[places]
    added = [pool.sources[place] for place in choice.places]
    own = iter(blended.sources(row, numbers[[not source for source in added]]))
    sources = [source or next(own) for source in added]
    items = []
    for place, number, score, source in zip(
        choice.places, numbers.tolist(), scores.tolist(), sources, strict=True
    ):
        is_own = not pool.sources[place]
        shown_as = PINNED if place in choice.pinned else source
        why = blended.scorers[source].explain(row, number) if explain and is_own else ()
        items.append(Recommendation(number, score, shown_as, level_of(shown_as, query), why))
    beyond = [place for place in choice.places if pool.sources[place] not in ("", PINNED)]
    return Answer(
        items=tuple(items),
        fallback=pool.sources[max(beyond)] if beyond else None,
        effects=choice.effects,
    )
