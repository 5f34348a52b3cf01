"""What is measured is what is served: one log, read by the service and by evaluation.

A customer with a visit under way, a refusal, a tiring item, a segment and an account, and a visitor
ask at the moment at which the log is cut. Both sides must build the same query and give the same
list; exploration is off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Fatigue, Placement
from recsys.bundle.publication import Publication, Variant, bundle_directory, write_publication
from recsys.bundle.save_load import save_bundle
from recsys.catalog.items import Item
from recsys.catalog.rules import Boost, NameTest, Rule, Where
from recsys.dataset.splitting import HeldOut, Truth
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.evaluation.held_out_queries import HeldOutQueries, live_catalog_as_of
from recsys.evaluation.report import EvaluationRules
from recsys.events.log import EventLog
from recsys.events.schema import Event, parse_event
from recsys.events.weighting import Weighting
from recsys.models.registry import MODELS
from recsys.query.account import with_account
from recsys.query.builder import build_query
from recsys.query.history import NO_HISTORY, NO_IMPRESSIONS
from recsys.query.preferences import Exclusions, Interests, Preferences
from recsys.query.profile import Profile
from recsys.query.query import Query
from recsys.recommend.operations import recommend
from recsys.store.sqlite import SQLiteStore
from serving.api.schemas import RequestContext, User
from serving.config import ServingConfig
from serving.http.app import build_app
from serving.use_cases.consent import permitted_person
from serving.use_cases.person_facts import context_of, facts_of
from serving.worker import Worker, limits_of

NOW = datetime(2026, 10, 7, 12, tzinfo=UTC)
N = 8
CONTEXT = {"channel": "app", "device": "mobile", "country": "NL", "referrer": "mail"}
CUSTOMER = {"user_id": "known", "session_id": "s-now"}
VISITOR = {"anonymous_id": "visitor"}
FANS = {
    "name": "fans",
    "events": [{"event": "custom", "name": "video_watched", "at_least": 2, "days": 30}],
}
FAMILIES: dict[str, dict[str, Any]] = {
    "random_walk": {},
    "session": {},
    "popularity": {},
    "popularity_by_segment": {"by": ["segment", "device"], "segments": [FANS], "prior": 5},
}
FOR_YOU = Placement(
    name="for_you",
    blend={"random_walk": 0.4, "session": 0.4, "popularity_by_segment": 0.2},
    fallback=("popularity",),
    fatigue=Fatigue(times=3, rest_days=7),
    account_weight=2.0,
    rules=(
        Rule(
            name="for fans",
            for_=["fans"],
            boost=[Boost(where=Where(brand=NameTest(in_=["tea-brand-1"])), factor=3.0)],
        ),
    ),
)


def event(kind: str, *items: str, minutes: float, **who: Any) -> Event:
    body = {
        "event_id": f"{kind}-{minutes}-{'-'.join(items)}-{who.get('user_id')}",
        "event": kind,
        "timestamp": (NOW - timedelta(minutes=minutes)).isoformat(),
        "items": [{"item_id": item} for item in items],
        "consent": {"personalization": True},
        **who,
    }
    return parse_event(body)


def happened() -> list[Event]:
    """Forty customers who buy coffee, tea or mugs, and the two who are asked about."""
    day = 24 * 60.0
    rng = np.random.default_rng(3)
    events = []
    for person in range(40):
        kind = ("coffee", "tea", "mug")[person % 3]
        who = {"user_id": f"p-{person}", "context": {"device": ("mobile", "desktop")[person % 2]}}
        for basket in range(3):
            items = [f"{kind}-{n}" for n in rng.choice(8, 3, replace=False)]
            minutes = float(rng.uniform(1, 60)) * day
            events.append(event("purchase", *items, "star", minutes=minutes, **who))
            if person % 6 == 1:
                events.append(
                    event("custom", minutes=basket * day + 5, name="video_watched", **who)
                )
    known = {"user_id": "known", "context": CONTEXT}
    colleague = {"user_id": "colleague", "account_id": "acme"}
    events += [
        event("purchase", "tea-0", "tea-1", minutes=30 * day, **known),
        event("view_item", "tea-2", minutes=20 * day, session_id="s-old", **known),
        event("add_to_wishlist", "coffee-7", minutes=19 * day, **known),
        event("feedback", "tea-2", minutes=18 * day, action="never_again", **known),
        event("feedback", "coffee-1", minutes=17 * day, action="like", **known),
        event("feedback", "tea-6", minutes=16 * day, action="snooze", **known),
        event("feedback", minutes=15 * day, action="not_interested", brand="mug-brand-2", **known),
        *(event("custom", minutes=n * day, name="video_watched", **known) for n in (3, 4)),
        *(event("view_item_list", "tea-3", "tea-4", minutes=n * day, **known) for n in (1, 2, 5)),
        event("select_item", "tea-4", minutes=0.5 * day, **known),
        event("view_item", "coffee-2", minutes=45, session_id="s-now", **known),
        event("view_item", "mug-5", minutes=25, session_id="s-phone", **known),
        event("add_to_cart", "coffee-3", minutes=10, session_id="s-now", **known),
        *(event("purchase", f"mug-{n}", minutes=9 * day + n, **colleague) for n in range(3)),
        event("view_item", "mug-1", minutes=2 * day, anonymous_id="visitor"),
        event("view_item", "mug-3", minutes=12, anonymous_id="visitor"),
        # What comes after the moment is unknown to both.
        event("feedback", "coffee-4", minutes=-5, action="never_again", **known),
        event("purchase", "tea-5", minutes=-60, **known),
    ]
    return sorted(events, key=lambda event: event.timestamp)


ITEMS = [
    *(
        Item(
            item_id=f"{kind}-{n}",
            category=["Drinks", kind],
            brand=f"{kind}-brand-{n % 3}",
            price=5.0,
        )
        for kind in ("coffee", "tea", "mug")
        for n in range(8)
    ),
    Item(item_id="star", category=["Drinks"], price=3.0),
]


@dataclass(frozen=True)
class Shop:
    """One log in a workspace: the store that the service reads, the data that evaluation reads."""

    root: Path
    store: SQLiteStore
    data: TrainingData
    bundle: Bundle

    def served(self, user: dict[str, str]) -> Query:
        """The query as the service builds it."""
        asked = User(**user)
        permitted = permitted_person(self.store, asked, None, history_limit=500)
        facts = facts_of(permitted, self.bundle.items, now=NOW, session_id=asked.session_id)
        context = context_of(RequestContext(**CONTEXT) if user == CUSTOMER else RequestContext())
        return build_query(facts, self.bundle.query_settings(), now=NOW, context=context)

    def measured(self, person: str) -> Query:
        """The query as evaluation builds it."""
        settings = self.bundle.query_settings()
        (query,) = self.data.queries([person], now=NOW, settings=settings)
        return query


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("parity")
    store = SQLiteStore(root / "store.sqlite")
    log = EventLog(root / "event_log")
    events = happened()
    before = [event for event in events if event.timestamp < NOW]
    store.put_profiles(
        [
            Profile(user_id="known", account_id="acme", country="NL", traits={"diet": "vegan"}),
            Profile(user_id="colleague", account_id="acme"),
        ],
        received_at=NOW - timedelta(days=80),
    )
    store.append(before, received_at=NOW)
    store.put_preferences(
        [
            Preferences(
                user_id="known",
                interests=Interests(brands=["coffee-brand-1"]),
                exclusions=Exclusions(items=["star"]),
            )
        ],
        received_at=NOW,
    )
    store.archive(log)
    # The log goes on after the moment of the question; the store stands still at it.
    later = SQLiteStore(root / "later.sqlite")
    later.append([event for event in events if event.timestamp >= NOW], received_at=NOW)
    later.archive(log)
    later.close()
    data = read_training_data(
        log,
        as_of=NOW,
        weighting=Weighting(),
        catalog=ITEMS,
        profiles=store.profiles(),
        preferences=store.all_preferences(),
        denied=store.denied(),
    )
    rng = np.random.default_rng(0)
    bundle = Bundle(
        manifest=Manifest(
            model_version="v1",
            as_of=NOW,
            window_from=NOW - timedelta(days=60),
            config_digest="parity",
            code_revision="test",
        ),
        items=data.items,
        catalog=data.catalog,
        models={
            name: MODELS[name].fit(data, MODELS[name].config.model_validate(settings), rng=rng)
            for name, settings in FAMILIES.items()
        },
        placements={FOR_YOU.name: FOR_YOU},
        weighting=data.weighting,
    )
    yield Shop(root, store, data, bundle)
    store.close()


@pytest.mark.parametrize(("user", "person"), [(CUSTOMER, "u:known"), (VISITOR, "a:visitor")])
@pytest.mark.parametrize("field", [field.name for field in fields(Query)])
def test_service_and_evaluation_build_the_same_query(
    shop: Shop, user: dict[str, str], person: str, field: str
) -> None:
    served, measured = shop.served(user), shop.measured(person)
    same(getattr(served, field), getattr(measured, field))


def same(served: Any, measured: Any) -> None:
    """Equality, also of arrays and of dataclasses that hold them."""
    if isinstance(served, np.ndarray):
        np.testing.assert_array_equal(served, measured)
        assert served.dtype == measured.dtype
    elif hasattr(served, "__dataclass_fields__"):
        assert type(served) is type(measured)
        for field in fields(served):
            if field.compare:
                same(getattr(served, field.name), getattr(measured, field.name))
    else:
        assert served == measured


def test_the_customers_query_holds_every_fact(shop: Shop) -> None:
    query = shop.measured("u:known")
    ids = shop.data.items.ids
    assert ids(query.session.items) == ["coffee-2", "coffee-3"]
    assert set(ids(query.refused)) == {"star", "tea-2", "tea-6"}
    assert ids(query.disliked) == ["tea-2"]
    assert ids(query.unclicked_impressions.items) == ["tea-3"]
    assert query.unclicked_impressions.times.tolist() == [3]
    assert query.segments == ("fans",)
    assert query.account is not None
    assert ids(query.account.items) == ["mug-2", "mug-1", "mug-0"]
    assert query.profile.traits == {"diet": "vegan", "interest in coffee-brand-1": True}
    assert query.profile.account_id == "acme"
    assert "tea-2" not in ids(query.history.items)
    assert "coffee-1" in ids(query.history.items)
    assert query.known
    assert ids(shop.measured("a:visitor").session.items) == ["mug-3"]


@pytest.mark.parametrize(
    "missing",
    [
        {"session": NO_HISTORY},
        {"refused": np.empty(0, np.int32)},
        {"unclicked_impressions": NO_IMPRESSIONS},
        {"segments": ()},
        {"account": None},
    ],
    ids=lambda fact: next(iter(fact)),
)
def test_each_fact_changes_the_list(shop: Shop, missing: dict[str, Any]) -> None:
    catalog = live_catalog_as_of(shop.bundle)
    query = shop.measured("u:known")
    whole, without = (
        recommend(shop.bundle, [asked], FOR_YOU, catalog, 20)[0].items
        for asked in (query, replace(query, **missing))
    )
    assert whole != without


def test_an_account_counts_where_own_events_are_few(shop: Shop) -> None:
    query = shop.measured("u:known")
    assert len(with_account(query, 1.0).history) > len(query.history)


@pytest.fixture(scope="module")
def service(shop: Shop) -> Iterator[tuple[asyncio.Runner, httpx.AsyncClient]]:
    """The application in this process over the same store, its clock at NOW."""
    config = ServingConfig(workspace=shop.root)
    version = shop.bundle.manifest.model_version
    save_bundle(shop.bundle, bundle_directory(config.published_root, version))
    variant = Variant(name="champion", model_version=version, share=1.0)
    write_publication(config.published_root, Publication(variants=[variant]))
    worker = Worker.open(config)
    app = build_app(replace(worker.state, clock=lambda: NOW), limits=limits_of(config))
    with asyncio.Runner() as runner:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")
        try:
            yield runner, http
        finally:
            runner.run(http.aclose())
            runner.run(worker.close())


@pytest.mark.parametrize(("user", "person"), [(CUSTOMER, "u:known"), (VISITOR, "a:visitor")])
def test_the_service_and_evaluation_give_the_same_list(
    shop: Shop,
    service: tuple[asyncio.Runner, httpx.AsyncClient],
    user: dict[str, str],
    person: str,
) -> None:
    runner, http = service
    body = {
        "user": user,
        "placements": [{"placement": "for_you", "k": N}],
        "context": CONTEXT if user == CUSTOMER else {},
    }
    answer = runner.run(http.post("/v1/recommendations", json=body))
    assert answer.status_code == 200, answer.text
    served = [item["item_id"] for item in answer.json()["placements"][0]["items"]]

    truth = Truth(("tea-5",), np.ones(1), np.ones(1))
    held_out = HeldOut(
        NOW, NOW + timedelta(days=1), ("a:visitor", "u:known", "u:p-1"), (truth,) * 3
    )
    queries = HeldOutQueries.of(shop.bundle, shop.data, held_out)
    lists, _ = queries.answers(shop.bundle, EvaluationRules(placement="for_you", cutoffs=(N,)))
    measured = shop.bundle.items.ids(lists[held_out.persons.index(person)])
    assert served == measured
    assert len(served) == N
    if person == "u:known":
        assert not {"tea-2", "tea-3", "tea-6", "star", "mug-2"} & set(served)
