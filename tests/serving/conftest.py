"""A small shop with known tastes as a bundle, a store in a folder, a recommender over both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from built_once import bundle_built_once

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Placement
from recsys.bundle.publication import Publication, Variant, bundle_directory, write_publication
from recsys.bundle.save_load import save_bundle
from recsys.bundle.social_proof import SocialProofConfig, social_proof
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.items import Item
from recsys.dataset.training_data import read_training_data
from recsys.events.log import EventLog, rows
from recsys.events.schema import Consent, Event, EventContext, EventItem, parse_event
from recsys.events.weighting import Weighting
from recsys.models.registry import MODELS
from recsys.store.sqlite import SQLiteStore
from serving.api.schemas import RecommendationsAnswer, RecommendationsRequest, RerankRequest
from serving.live.versions import LiveVersions, ServedVariant
from serving.metrics import Metrics
from serving.use_cases.recommend import Recommender

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
NOW = AS_OF + timedelta(hours=36)
"""The moment at which the recommender is asked."""

FAMILIES = (
    "random_walk",
    "item_item",
    "repeat",
    "recent",
    "content",
    "bought_together",
    "popularity",
    "popularity_by_country",
    "trending",
)
BLENDS = {
    "for_you": {"random_walk": 1.0, "popularity": 0.05},
    "similar": {"item_item": 1.0, "content": 0.5},
    "bought_together": {"bought_together": 1.0},
    "trending": {"trending": 1.0},
    "recently_viewed": {"recent": 1.0},
    "rerank": {"random_walk": 2.0, "popularity": 0.1},
}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of real models over a shop of 12 coffee things, 12 tea things and one bestseller.

    Half of its 60 customers buy coffee-* only, the others tea-*; everybody has bought `star`;
    coffee-01 and coffee-02 are always bought together, and so are tea-01 and tea-02.
    """
    log = tmp_path_factory.mktemp("tastes") / "log"
    return bundle_built_once(tmp_path_factory, "coffee-and-tea", lambda: _fitted(EventLog(log)))


def _fitted(log: EventLog) -> Bundle:
    log.append(rows(_purchases()), part="all")
    weighting = Weighting()
    learnt = read_training_data(log, as_of=AS_OF, weighting=weighting, catalog=_items())
    rng = np.random.default_rng(0)
    return Bundle(
        manifest=Manifest(
            model_version="v1",
            as_of=AS_OF,
            window_from=AS_OF - timedelta(days=60),
            config_digest="small",
            code_revision="test",
        ),
        items=learnt.items,
        catalog=learnt.catalog,
        models={
            name: MODELS[name].fit(learnt, MODELS[name].config(), rng=rng) for name in FAMILIES
        },
        placements={name: _placement(name, blend) for name, blend in BLENDS.items()},
        weighting=weighting,
        social_proof=social_proof(learnt, SocialProofConfig(days=60)),
    )


@pytest.fixture(scope="session")
def publish(bundle: Bundle) -> Callable[..., None]:
    """`publish(root, "v1", "v2")`: the bundle under these versions, in equal shares."""

    def put(root: Path, *versions: str) -> None:
        for version in versions:
            directory = bundle_directory(root, version)
            if not directory.exists():
                manifest = msgspec.structs.replace(bundle.manifest, model_version=version)
                save_bundle(replace(bundle, manifest=manifest), directory)
        names = ("champion", *(f"challenger-{n}" for n in range(1, len(versions))))
        variants = [
            Variant(name=name, model_version=version, share=1 / len(versions))
            for name, version in zip(names, versions, strict=True)
        ]
        write_publication(root, Publication(variants=variants))

    return put


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    """An empty event store."""
    store = SQLiteStore(tmp_path / "store.sqlite")
    yield store
    store.close()


@dataclass
class Asker:
    """A recommender over a store, asked at NOW with bodies as a shop would send them."""

    recommender: Recommender
    store: SQLiteStore
    versions: LiveVersions
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    sent: int = 0
    now: datetime = NOW

    def happened(self, kind: str, *items: str, minutes_ago: float = 10, **fields: Any) -> Event:
        """Stores an event with consent (unless `consent` says otherwise) and gives it back."""
        self.sent += 1
        body: dict[str, Any] = {
            "event_id": f"e-{self.sent}",
            "event": kind,
            "timestamp": (self.now - timedelta(minutes=minutes_ago)).isoformat(),
            "items": [{"item_id": item} for item in items],
            "consent": {"personalization": True},
            **fields,
        }
        event = parse_event({name: value for name, value in body.items() if value is not None})
        self.store.append([event], received_at=self.now)
        return event

    def recommend(self, *, placement: str = "for_you", k: int = 5, **fields: Any) -> Any:
        """The answer to one placement (or to `placements`), and what is to be logged."""
        page = {name: fields.pop(name) for name in ("items", "exclude") if name in fields}
        fields.setdefault("placements", [{"placement": placement, "k": k, **page}])
        request = msgspec.convert(fields, RecommendationsRequest)
        return self.recommender.recommend(request, self.versions, now=self.now, rng=self.rng)

    def first(self, **fields: Any) -> Any:
        """The answer's first list."""
        answer: RecommendationsAnswer = self.recommend(**fields)[0]
        return answer.placements[0]

    def ids(self, **fields: Any) -> list[str]:
        """The item ids of the answer's first list."""
        return [item.item_id for item in self.first(**fields).items]

    def rerank(self, **fields: Any) -> Any:
        """The answer to a rerank body, and what is to be logged."""
        request = msgspec.convert(fields, RerankRequest)
        return self.recommender.rerank(request, self.versions, now=self.now, rng=self.rng)


@pytest.fixture
def recommender(store: SQLiteStore) -> Recommender:
    """The recommender over the store."""
    return Recommender(
        store, metrics=Metrics(), history_limit=500, session_gap=timedelta(minutes=30)
    )


@pytest.fixture
def ask(recommender: Recommender, store: SQLiteStore, bundle: Bundle) -> Asker:
    """The recommender over the bundle and an empty store."""
    served = ServedVariant("champion", 1.0, bundle, LiveCatalog.of(bundle.catalog))
    return Asker(recommender, store, LiveVersions((served,)))


def _placement(name: str, blend: dict[str, float]) -> Placement:
    return Placement(
        name=name,
        blend=blend,
        repeats="exclude_history" if name == "for_you" else "allow",
        returned_like=0.3 if name == "for_you" else None,
        fallback=()
        if name in ("recently_viewed", "rerank")
        else ("popularity_by_country", "popularity"),
    )


def _items() -> list[Item]:
    things = [
        Item(
            item_id=f"{kind}-{n:02d}",
            title=f"{kind.title()} thing {n}",
            category=["Drinks", kind.title()],
            brand=f"{kind}-brand",
            price=float(n),
        )
        for kind in ("coffee", "tea")
        for n in range(1, 13)
    ]
    return [*things, Item(item_id="star", title="The Bestseller", category=["Drinks"], price=5.0)]


def _purchases() -> list[Event]:
    rng = np.random.default_rng(1)
    events = []
    for customer in range(60):
        kind = "coffee" if customer % 2 == 0 else "tea"
        bought = [f"{kind}-01", f"{kind}-02", "star"] if customer % 3 else ["star"]
        bought += [f"{kind}-{n:02d}" for n in rng.choice(np.arange(3, 13), 4, replace=False)]
        events.append(
            Event(
                event_id=f"small-{customer}",
                event="purchase",
                timestamp=AS_OF - timedelta(days=float(rng.uniform(1, 50))),
                user_id=f"customer-{customer}",
                items=[EventItem(item_id=id) for id in bought],
                consent=Consent(personalization=True),
                context=EventContext(country="NL" if customer % 2 == 0 else "GB"),
            )
        )
    return events
