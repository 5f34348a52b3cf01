"""The smoke check before a bundle may serve: every placement answers a customer and a stranger."""

from __future__ import annotations

import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.catalog.live import LiveCatalog
from recsys.errors import BundleError
from recsys.events.schema import PURCHASE
from recsys.query.history import History
from recsys.query.query import Listed, Query
from recsys.recommend.operations import recommend, rerank


def smoke_check(bundle: Bundle) -> None:
    """Asks every placement for a stranger and for somebody with a history; BundleError where an
    answer fails, repeats an item, shows what cannot be sold, or is empty without need."""
    live_catalog = LiveCatalog.of(bundle.catalog)
    now = bundle.manifest.as_of
    eligible = live_catalog.eligible(now)
    if not eligible.any():
        raise BundleError(f"Bundle {bundle.model_version} has nothing to sell as of {now}.")
    some = np.flatnonzero(eligible)[:3].astype(np.int32)
    moment = np.full(len(some), now.timestamp())
    history = History(
        some, np.full(len(some), PURCHASE, np.int8), moment, np.ones(len(some), np.float32)
    )
    listed = Listed(some, np.full(len(some), np.nan, np.float32))
    queries = [
        Query(now=now, seeds=some[:1], listed=listed),
        Query(now=now, history=history, seeds=some[:1], listed=listed, known=True),
    ]
    for placement in bundle.placements.values():
        if placement.name == "rerank":
            rankings = rerank(bundle, queries, placement, live_catalog)
            complete = all(sorted(ranking.order) == list(range(len(some))) for ranking in rankings)
            _require(bundle, placement.name, complete, "loses items of the list")
            continue
        for answer in recommend(bundle, queries, placement, live_catalog, 10):
            numbers = answer.numbers
            _require(bundle, placement.name, len(set(numbers.tolist())) == len(numbers), "repeats")
            _require(
                bundle, placement.name, bool(eligible[numbers].all()), "shows what is not sold"
            )
            if placement.fallback and eligible.sum() > len(some):
                _require(bundle, placement.name, len(numbers) > 0, "is empty")


def _require(bundle: Bundle, placement: str, holds: bool, fault: str) -> None:
    if not holds:
        raise BundleError(
            f"Bundle {bundle.model_version} is not served: its placement {placement!r} {fault}."
        )
