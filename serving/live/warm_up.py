"""Loads a bundle and answers some queries, so that the first customer does not wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path

import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import RERANK
from recsys.bundle.save_load import load_bundle
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.items import Item
from recsys.errors import BundleError
from recsys.ids import USER_PREFIX
from recsys.query.builder import build_query, stranger_query
from recsys.query.facts import PersonFacts
from recsys.query.history import StoredEvent, event_rows
from recsys.query.query import Context, Listed, Query
from recsys.recommend.operations import recommend, rerank


def live_catalog_of(bundle: Bundle, items: Sequence[Item], revision: int) -> LiveCatalog:
    """The bundle's catalogue under the live changes, its columns ready for rules."""
    live_catalog = LiveCatalog.of(bundle.catalog, first_seen=bundle.first_seen)
    live_catalog.columns.prepare()
    return live_catalog.with_changes(items, revision=revision)


def load_and_warm_up(directory: Path, version: str) -> Bundle:
    """BundleError where the bundle is damaged or cannot answer each of its placements."""
    bundle = load_bundle(directory)
    if bundle.model_version != version:
        raise BundleError(
            f"Bundle {directory} says that it is version {bundle.model_version!r}; the pointer "
            f"names {version!r}. Publish again."
        )
    try:
        warm_up(bundle)
    except Exception as error:
        raise BundleError(f"Bundle {directory} failed its warm-up: {error!r}") from error
    return bundle


def warm_up(bundle: Bundle) -> None:
    """Answers every placement for a customer, a visitor on a page and a stranger, one query each.

    It touches the mapped files, fills caches and loads the compiled kernels of single queries.
    """
    now = bundle.manifest.as_of
    live_catalog = LiveCatalog.of(bundle.catalog, first_seen=bundle.first_seen)
    customer = _customer(bundle, now)
    listed = np.arange(min(len(bundle.items), 20), dtype=np.int32)
    page = replace(customer, seeds=listed[:2], known=False)
    for query in (customer, page, stranger_query(now)):
        for placement in bundle.placements.values():
            if placement.name == RERANK:
                for engine_score in (np.nan, 1.0):
                    scores = np.full(len(listed), engine_score, np.float32)
                    asked = replace(query, listed=Listed(listed, scores))
                    rerank(bundle, [asked], placement, live_catalog)
            else:
                recommend(bundle, [query], placement, live_catalog, 10, explain=True)


def _customer(bundle: Bundle, now: datetime) -> Query:
    """A customer with events of each kind on a few items, the newest of them in this visit."""
    ids = bundle.items.ids(np.arange(min(len(bundle.items), 3), dtype=np.int32))
    events = [
        StoredEvent(item_id=item, kind=kind, time=now.timestamp() - 60.0 * (10 - index))
        for index, (item, kind) in enumerate(product(ids, ("view_item", "add_to_cart", "purchase")))
    ]
    return build_query(
        PersonFacts(key=f"{USER_PREFIX}warm-up", events=event_rows(events, bundle.items)),
        bundle.query_settings(session_gap=timedelta(minutes=5)),
        now=now,
        context=Context(country="NL", search_term="a"),
    )
