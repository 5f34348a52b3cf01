"""The public operations on a bundle: `recommend` makes a list, `rerank` orders a given one.

`similar` and `bought_together` are `recommend` on placements whose models score by the seeds. How
`recommend` makes a list, step by step (each is a module of this folder):

1. restrict: stock, hard rules and what the placement shows decide which items are eligible
   (`rule_engine`);
2. suppress: what this person has bought, refused or seen too often (`suppression`);
3. retrieve, score, blend: each model retrieves its best eligible items, all models score their
   union, the weighted sum is the score; a ranker orders the best of it, boosts multiply
   (`candidates`);
4. select: pins, quotas, diversity, one variant per item group (`diversity_and_quotas`);
5. fall back: short lists are filled from the fallback models, then the catalogue (`fallback`);
6. explore: some positions go to new items, with their propensity (`exploration`);
7. explain: the contributions behind each score (`explanation` makes reasons of them), and
   `diagnostics` of the list on request.

`rerank` scores and orders the items that it is given, without steps 4 to 7 (`rerank`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.random import Generator

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.rules import NO_RULES, Rule, Rules
from recsys.errors import InvalidQuery
from recsys.ids import NONE, Mask, Numbers
from recsys.query.query import Query
from recsys.recommend.answers import (
    CATALOG,
    PINNED,
    Answer,
    Recommendation,
    level_of,
)
from recsys.recommend.candidates import Blend, blend_candidates
from recsys.recommend.diagnostics import diagnose as diagnose_lists
from recsys.recommend.diversity_and_quotas import Selection
from recsys.recommend.exploration import explore
from recsys.recommend.fallback import CandidatePool, Fallback
from recsys.recommend.rerank import Ranking, rerank
from recsys.recommend.rerank_scores import ENGINE
from recsys.recommend.rule_engine import ListLimits, compile_rules
from recsys.recommend.suppression import Suppression, query_for, shown_mask, suppress

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

MASKED_FROM: Final = 20
"""More excluded items than these are masked for all models, instead of over-fetched by each."""
STOCK: Final = "stock"
"""The name of the rule that unsellable items are not shown, in diagnostics."""


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

    Seeds and the items of `exclude` (one array per query) are not recommended, nor their variants.
    `rules` of the request and `personal` ones hold beside the placement's, for all queries; a rule
    for a segment holds where all queries are of it. A placement without fallback may give a short
    list. Without `rng` nothing is explored. InvalidQuery: n < 1, or a model that the bundle lacks.
    """
    if n < 1:
        raise InvalidQuery(f"n is {n}; ask for at least 1 item.")
    if not queries:
        return []
    limits, exclude = _limits(
        queries, placement, live_catalog, exclude=exclude, rules=rules, personal=personal
    )
    asked = [query_for(query, placement) for query in queries]
    suppressions = [
        _suppression(bundle, query, placement, limits, out)
        for query, out in zip(asked, exclude or [NONE] * len(asked), strict=True)
    ]
    blend = blend_candidates(bundle, asked, placement, limits, suppressions)
    n_best = None if limits.rules.has_list_rules else n
    pools = [CandidatePool.of(blend.best(row, n_best)) for row in range(len(asked))]
    lists = Fallback(bundle, asked, placement, limits, n).fill(pools, suppressions)
    answers = [
        _answer(query, row, *lists[row], blend, explain=explain)
        for row, query in enumerate(queries)
    ]
    if placement.exploration is not None and rng is not None:
        answers = [
            explore(answer, query, bundle, placement.exploration, limits, suppression, rng=rng)
            for answer, query, suppression in zip(answers, asked, suppressions, strict=True)
        ]
    if not diagnose:
        return answers
    reports = diagnose_lists(
        blend.scorers,
        placement.candidates,
        limits,
        suppressions,
        list_effects=[selection.effects for _, selection in lists],
    )
    return [
        replace(answer, diagnostics=report) for answer, report in zip(answers, reports, strict=True)
    ]


def _limits(
    queries: Sequence[Query],
    placement: Placement,
    live_catalog: LiveCatalog,
    *,
    exclude: Sequence[Numbers] | None,
    rules: Rules,
    personal: Sequence[Rule],
) -> tuple[ListLimits, Sequence[Numbers] | None]:
    """The limits of a batch, and the exclusions that are left to be applied row by row."""
    now = queries[0].now
    in_force = compile_rules(
        live_catalog,
        now,
        (*placement.rules, *personal),
        rules,
        segments=set(queries[0].segments).intersection(*(query.segments for query in queries)),
    )
    sellable = live_catalog.eligible(now)
    barriers = [(STOCK, sellable)]
    shown = shown_mask(placement, live_catalog, now=now.timestamp())
    if shown is not None:
        barriers.append((placement.shows, shown))
    eligible = in_force.allowed(sellable if shown is None else sellable & shown)
    if len(queries) == 1 and exclude is not None and len(exclude[0]) > MASKED_FROM:
        eligible = _masked(eligible, live_catalog.columns.with_variants(exclude[0]))
        exclude = None
    if len(in_force.excluded) > MASKED_FROM:
        eligible = _masked(eligible, in_force.excluded)
        in_force = replace(in_force, excluded=NONE)
    barriers += in_force.barriers
    return ListLimits(live_catalog, eligible, in_force, tuple(barriers)), exclude


def _masked(eligible: Mask, numbers: Numbers) -> Mask:
    """The eligible items without these; −1 is ignored."""
    left = eligible.copy()
    left[numbers[numbers >= 0]] = False
    return left


def _suppression(
    bundle: Bundle,
    query: Query,
    placement: Placement,
    limits: ListLimits,
    exclude: Numbers,
) -> Suppression:
    """The suppression of one query; variants of its seeds and exclusions are excluded too."""
    live_catalog = limits.live_catalog
    variants = live_catalog.columns.with_variants(np.concatenate([query.seeds, exclude]))
    return suppress(
        query,
        placement,
        live_catalog,
        bundle.models,
        exclude=np.concatenate([variants, limits.rules.excluded]),
    )


def _answer(
    query: Query,
    row: int,
    pool: CandidatePool,
    selection: Selection,
    blend: Blend,
    *,
    explain: bool,
) -> Answer:
    """The selected items with source, level and, with `explain`, the contributions of the source.

    The source of a candidate is the model that contributes most to its score.
    """
    indices = np.array(selection.indices, np.intp)
    numbers, scores = pool.numbers[indices], pool.scores[indices]
    is_candidate = np.array([not pool.sources[index] for index in selection.indices], np.bool_)
    heaviest = iter(blend.sources(row, numbers[is_candidate]))
    items = []
    for index, number, score in zip(
        selection.indices, numbers.tolist(), scores.tolist(), strict=True
    ):
        fallback = pool.sources[index]
        model = fallback or next(heaviest)
        source = PINNED if index in selection.pinned else model
        why = () if fallback or not explain else blend.scorers[model].explain(row, number)
        items.append(Recommendation(number, score, source, level_of(source, query), why))
    fallbacks = [index for index in selection.indices if pool.sources[index] not in ("", PINNED)]
    return Answer(
        items=tuple(items),
        fallback=pool.sources[max(fallbacks)] if fallbacks else None,
        effects=selection.effects,
    )
