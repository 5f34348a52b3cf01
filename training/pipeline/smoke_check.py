"""The smoke check before a bundle may serve: every placement answers a customer and a stranger.

Live catalogue and queries are built as service and evaluation build them. `rehearse` checks a
recipe that way before hours of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import RERANK, Placement
from recsys.catalog.availability import LiveCatalog
from recsys.errors import BundleError
from recsys.events.schema import PURCHASE
from recsys.ids import Numbers, user_key
from recsys.query.builder import build_query
from recsys.query.facts import NO_FACTS, PersonFacts
from recsys.query.history import EventRows
from recsys.query.query import Listed, Query
from recsys.recommend.operations import recommend, rerank
from recsys.recommend.rule_engine import compile_rules
from recsys.recommend.suppression import shown_mask
from training.config import Recipe
from training.fitting.build import build
from training.fitting.source import TrainingSource
from training.run_context import RunContext

REHEARSAL_DAYS = 14.0
"""`rehearse` fits a recipe on the events of so many days."""
N_BOUGHT = 3
"""How many items the customer of the check has bought."""
N_ASKED = 10
"""The length of the lists that are asked for."""


def rehearse(source: TrainingSource, recipe: Recipe, *, context: RunContext) -> None:
    """Fits the recipe on the newest days alone and smoke-checks the result; BundleError as there.

    What a recipe cannot show, it cannot show with more events either: it fails in seconds.
    """
    days = min(recipe.window_days, REHEARSAL_DAYS)
    newest = recipe.model_copy(update={"window_days": days})
    smoke_check(build(source.read_uncached(source.newest, newest), newest, context=context))


def smoke_check(bundle: Bundle) -> None:
    """Asks every placement for a stranger and for somebody who has bought.

    BundleError where an answer fails, repeats an item, shows what cannot be sold, or is empty
    although a sellable item satisfies what the placement shows and its rules. A list that is
    rightly empty, such as that of a shop without a sale, is no defect.
    """
    live_catalog = LiveCatalog.of(bundle.catalog, first_seen=bundle.first_seen)
    live_catalog.columns.prepare()
    eligible = live_catalog.eligible(bundle.manifest.as_of)
    if not eligible.any():
        raise BundleError(
            f"Bundle {bundle.model_version} has nothing to sell as of {bundle.manifest.as_of}."
        )
    some = np.flatnonzero(eligible)[:N_BOUGHT].astype(np.int32)
    queries = _queries(bundle, some)
    for placement in bundle.placements.values():
        if placement.name == RERANK:
            rankings = rerank(bundle, queries, placement, live_catalog)
            complete = all(sorted(ranking.order) == list(range(len(some))) for ranking in rankings)
            _require(bundle, placement.name, complete, "loses items of the list")
            continue
        answers = recommend(bundle, queries, placement, live_catalog, N_ASKED)
        for query, answer in zip(queries, answers, strict=True):
            numbers = answer.numbers
            _require(bundle, placement.name, len(set(numbers.tolist())) == len(numbers), "repeats")
            _require(
                bundle, placement.name, bool(eligible[numbers].all()), "shows what is not sold"
            )
            if not len(numbers):
                rightly = not could_show(placement, live_catalog, query, without=some)
                _require(bundle, placement.name, rightly, "is empty")


def could_show(
    placement: Placement, live_catalog: LiveCatalog, query: Query, *, without: Numbers
) -> bool:
    """Whether the placement has a fallback and some sellable item, other than these and their
    variants, satisfies what it shows and its rules."""
    if not placement.fallback:
        return False
    rules = compile_rules(live_catalog, query.now, placement.rules, segments=query.segments)
    showable = rules.allowed(live_catalog.eligible(query.now)).copy()
    shown = shown_mask(placement, live_catalog, now=query.now.timestamp())
    if shown is not None:
        showable &= shown
    showable[live_catalog.columns.with_variants(without)] = False
    showable[rules.excluded] = False
    pool = np.flatnonzero(showable).astype(np.int32)
    return len(rules.select(pool, N_ASKED, relax=True).indices) > 0


def _queries(bundle: Bundle, some: Numbers) -> Sequence[Query]:
    """A stranger and a customer who has just bought these items, on the page of the first of them
    and with all of them as a given list."""
    now = bundle.manifest.as_of
    bought = EventRows(
        some, np.full(len(some), PURCHASE, np.int8), np.full(len(some), now.timestamp())
    )
    settings = bundle.query_settings()
    listed = Listed(some, np.full(len(some), np.nan, np.float32))
    return [
        replace(build_query(facts, settings, now=now), seeds=some[:1], listed=listed)
        for facts in (NO_FACTS, PersonFacts(key=user_key("smoke-check"), events=bought))
    ]


def _require(bundle: Bundle, placement: str, holds: bool, fault: str) -> None:
    if not holds:
        raise BundleError(
            f"Bundle {bundle.model_version} is not served: its placement {placement!r} {fault}."
        )
