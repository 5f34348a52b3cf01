"""The registry of model families: settings, fitting, loading and labels of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from recsys.models.baskets.bought_together import (
    BoughtTogetherConfig,
    BoughtTogetherModel,
    fit_bought_together,
)
from recsys.models.content.attribute_affinity import (
    AttributeAffinityConfig,
    AttributeAffinityModel,
    fit_attribute_affinity,
)
from recsys.models.content.cold_items import ColdItemsConfig, fit_cold_items
from recsys.models.content.content import ContentConfig, ContentModel, fit_content
from recsys.models.factorisation.als import ALSConfig, ALSModel, fit_als
from recsys.models.factorisation.bpr import BPRConfig, BPRModel, fit_bpr
from recsys.models.factorisation.graph_filter import (
    GraphFilterConfig,
    GraphFilterModel,
    fit_graph_filter,
)
from recsys.models.factorisation.hybrid import HybridConfig, HybridModel, fit_hybrid
from recsys.models.factorisation.ials import IALSConfig, IALSModel, fit_ials
from recsys.models.item_to_item.ease import EASEConfig, fit_ease
from recsys.models.item_to_item.item_item import ItemItemConfig, fit_item_item
from recsys.models.item_to_item.random_walk import RandomWalkConfig, fit_random_walk
from recsys.models.popularity.popularity import (
    CategoryPopularityConfig,
    CategoryPopularityModel,
    CountryPopularityConfig,
    CountryPopularityModel,
    PopularityConfig,
    PopularityModel,
    TrendingConfig,
    fit_popularity,
    fit_popularity_by_category,
    fit_popularity_by_country,
    fit_trending,
)
from recsys.models.popularity.search_clicks import (
    SearchClicksConfig,
    SearchClicksModel,
    fit_search_clicks,
)
from recsys.models.popularity.segment_popularity import (
    SegmentPopularityConfig,
    SegmentPopularityModel,
    fit_segment_popularity,
)
from recsys.models.protocol import Model
from recsys.models.repurchase.rebuy import RebuyConfig, RebuyModel, fit_rebuy
from recsys.models.repurchase.recently_viewed import RecentConfig, RecentModel, fit_recent
from recsys.models.repurchase.refill import RefillConfig, RefillModel, fit_refill
from recsys.models.repurchase.repeat import RepeatConfig, RepeatModel, fit_repeat
from recsys.models.scoring.neighbours import NeighbourModel
from recsys.models.sessions.session import SessionConfig, SessionModel, fit_session
from recsys.models.sessions.session_knn import SessionKnnConfig, SessionKnnModel, fit_session_knn
from recsys.models.user_neighbours.tifu_knn import TifuKnnConfig, TifuKnnModel, fit_tifu_knn
from recsys.models.user_neighbours.up_cf import UpCfConfig, UpCfModel, fit_up_cf


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """One way to learn: its settings, how it is fitted, how it is loaded.

    `fit(data, config, rng=rng)` takes an instance of `config`; `words` say where an item came from,
    as a shop shows it.
    """

    config: type[BaseModel]
    fit: Callable[..., Model]
    model: type[Any]
    words: str


MODELS: Final[Mapping[str, ModelFamily]] = {
    "popularity": ModelFamily(
        PopularityConfig, fit_popularity, PopularityModel, "popular with everybody"
    ),
    "popularity_by_country": ModelFamily(
        CountryPopularityConfig,
        fit_popularity_by_country,
        CountryPopularityModel,
        "popular in your country",
    ),
    "popularity_by_segment": ModelFamily(
        SegmentPopularityConfig,
        fit_segment_popularity,
        SegmentPopularityModel,
        "popular with people like you",
    ),
    "popularity_by_category": ModelFamily(
        CategoryPopularityConfig,
        fit_popularity_by_category,
        CategoryPopularityModel,
        "popular in the categories that you look at",
    ),
    "trending": ModelFamily(TrendingConfig, fit_trending, PopularityModel, "on the rise"),
    "repeat": ModelFamily(RepeatConfig, fit_repeat, RepeatModel, "bought before"),
    "rebuy": ModelFamily(RebuyConfig, fit_rebuy, RebuyModel, "bought before, as many do again"),
    "refill": ModelFamily(RefillConfig, fit_refill, RefillModel, "due again"),
    "recent": ModelFamily(RecentConfig, fit_recent, RecentModel, "looked at last"),
    "session": ModelFamily(SessionConfig, fit_session, SessionModel, "goes with this visit"),
    "session_knn": ModelFamily(
        SessionKnnConfig, fit_session_knn, SessionKnnModel, "chosen next in visits like this one"
    ),
    "tifu_knn": ModelFamily(
        TifuKnnConfig, fit_tifu_knn, TifuKnnModel, "fits your rhythm and that of people like you"
    ),
    "up_cf": ModelFamily(UpCfConfig, fit_up_cf, UpCfModel, "people like you bought it lately"),
    "random_walk": ModelFamily(
        RandomWalkConfig, fit_random_walk, NeighbourModel, "people with your taste chose it"
    ),
    "item_item": ModelFamily(
        ItemItemConfig, fit_item_item, NeighbourModel, "chosen by the same people"
    ),
    "ease": ModelFamily(EASEConfig, fit_ease, NeighbourModel, "goes with what you chose"),
    "graph_filter": ModelFamily(
        GraphFilterConfig, fit_graph_filter, GraphFilterModel, "fits the tastes that you share"
    ),
    "als": ModelFamily(ALSConfig, fit_als, ALSModel, "fits your taste"),
    "ials": ModelFamily(IALSConfig, fit_ials, IALSModel, "fits your taste"),
    "bpr": ModelFamily(BPRConfig, fit_bpr, BPRModel, "fits your taste"),
    "hybrid": ModelFamily(
        HybridConfig, fit_hybrid, HybridModel, "fits your taste and what we know about the item"
    ),
    "bought_together": ModelFamily(
        BoughtTogetherConfig, fit_bought_together, BoughtTogetherModel, "often bought together"
    ),
    "newcomers": ModelFamily(
        ColdItemsConfig, fit_cold_items, NeighbourModel, "new, and like what fits your taste"
    ),
    "habits": ModelFamily(
        AttributeAffinityConfig,
        fit_attribute_affinity,
        AttributeAffinityModel,
        "a brand, kind and price that you like",
    ),
    "search_clicks": ModelFamily(
        SearchClicksConfig, fit_search_clicks, SearchClicksModel, "chosen by who searched for this"
    ),
    "content": ModelFamily(ContentConfig, fit_content, ContentModel, "similar description"),
}
"""Family name → family. A bundle's manifest names models by these keys."""
