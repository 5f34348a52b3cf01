"""The registry of model families: the name of each and its declaration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from recsys.models.baskets import bought_together
from recsys.models.content import attribute_affinity, cold_items, content
from recsys.models.factorisation import als, bpr, graph_filter, hybrid, ials
from recsys.models.family import ModelFamily
from recsys.models.item_to_item import ease, item_item, random_walk
from recsys.models.popularity import popularity, search_clicks, segment_popularity
from recsys.models.repurchase import rebuy, recently_viewed, refill, repeat
from recsys.models.sessions import session, session_knn
from recsys.models.user_neighbours import tifu_knn, up_cf

MODELS: Final[Mapping[str, ModelFamily]] = {
    "popularity": popularity.POPULARITY,
    "popularity_by_country": popularity.POPULARITY_BY_COUNTRY,
    "popularity_by_segment": segment_popularity.FAMILY,
    "popularity_by_category": popularity.POPULARITY_BY_CATEGORY,
    "trending": popularity.TRENDING,
    "repeat": repeat.FAMILY,
    "rebuy": rebuy.FAMILY,
    "refill": refill.FAMILY,
    "recent": recently_viewed.FAMILY,
    "session": session.FAMILY,
    "session_knn": session_knn.FAMILY,
    "tifu_knn": tifu_knn.FAMILY,
    "up_cf": up_cf.FAMILY,
    "random_walk": random_walk.FAMILY,
    "item_item": item_item.FAMILY,
    "ease": ease.FAMILY,
    "graph_filter": graph_filter.FAMILY,
    "als": als.FAMILY,
    "ials": ials.FAMILY,
    "bpr": bpr.FAMILY,
    "hybrid": hybrid.FAMILY,
    "bought_together": bought_together.FAMILY,
    "newcomers": cold_items.FAMILY,
    "habits": attribute_affinity.FAMILY,
    "search_clicks": search_clicks.FAMILY,
    "content": content.FAMILY,
}
"""Family name → declaration. Recipes, blends and bundles name models by these keys."""
