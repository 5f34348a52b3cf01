"""Placements and the customer's journey over HTTP, against a service of two workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running_service import Service, patient_config

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import DEFAULT_PLACEMENTS
from recsys.bundle.publication import Publication, Variant, bundle_directory, write_publication
from recsys.bundle.save_load import save_bundle
from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.events.log import EventLog, rows
from recsys.events.schema import Consent, Event, EventContext, EventItem
from recsys.events.weighting import Weighting
from recsys.models.registry import MODELS
from recsys.query.profile import Profile
from recsys.store.sqlite import SQLiteStore
from training.fitting.build import first_seen

NOW = datetime.now(UTC)
AS_OF = NOW - timedelta(hours=1)
YES = {"personalization": True}
NEWEST = ("new-1", "new-2", "new-3")
ON_SALE = ("drill-2", "doll-2", "tray")
SEGMENTS = """
segments:
  - name: fans
    points: {at_least: 15, days: 30, events: [{event: custom, name: video_watched, points: 5}]}
  - name: wet
    values: {weather: [rain, snow]}
"""
PLACEMENTS = """
placements:
  - name: for_you
    fatigue: {times: 3, rest_days: 7}
  - name: explorer
    blend: {popularity: 1.0}
    exploration: {share: 0.2, every: 5, first: 2}
"""


def items() -> list[Item]:
    """Kitchen things, coffee and filters, toys for two kinds of people, three newcomers."""
    paths = {
        "kettle": "Kitchen > Kettles",
        "teapot": "Kitchen > Kettles",
        "descaler": "Care > Cleaning",
        "coffee": "Food > Coffee",
        "filters": "Food > Filters",
        "tray": "Kitchen > Trays",
    }
    paths |= {f"drill-{n}": "Tools > Drills" for n in range(5)}
    paths |= {f"doll-{n}": "Toys > Dolls" for n in range(5)}
    paths |= {f"rain-{n}": "Clothes > Rain" for n in range(3)}
    paths |= dict.fromkeys(NEWEST, "Kitchen > Mugs")
    return [
        Item(
            item_id=id,
            title=id.replace("-", " "),
            category=path.split(" > "),
            brand="Bold",
            price=10.0,
            list_price=12.0 if id in ON_SALE else None,
            available_from=AS_OF - timedelta(days=5) if id in NEWEST else None,
        )
        for id, path in paths.items()
    ]


def history() -> list[Event]:
    """Ninety days: coffee every week, a kettle once with descaler, drills for the Dutch on their
    phones, dolls for the British at their desks."""
    rng = np.random.default_rng(2)
    events: list[Event] = []

    def bought(person: int, days: float, *ids: str) -> None:
        dutch = person % 2 == 0
        events.append(
            Event(
                event_id=f"h-{len(events)}",
                event="purchase",
                timestamp=AS_OF - timedelta(days=days),
                user_id=f"h-{person}",
                items=[EventItem(id) for id in ids],
                consent=Consent(personalization=True),
                context=EventContext(
                    country="NL" if dutch else "GB", device="mobile" if dutch else "desktop"
                ),
            )
        )

    for person in range(60):
        for week in range(1 + person % 10):
            bought(person, 80 - 7 * week + float(rng.uniform(0, 1)), "coffee")
        bought(person, float(rng.uniform(5, 80)), "kettle", "descaler")
        toy = "drill" if person % 2 == 0 else "doll"
        for n in rng.choice(5, 3, replace=False):
            bought(person, float(rng.uniform(1, 80)), f"{toy}-{n}", "filters")
        if person % 5 == 0:
            bought(person, float(rng.uniform(1, 80)), f"rain-{person % 3}", "tray")
            bought(person, float(rng.uniform(1, 80)), "teapot")
        if person % 7 == 0:
            bought(person, float(rng.uniform(0, 4)), NEWEST[person % 3])
    fans = range(0, 60, 5)  # those who buy rainwear
    events += [
        Event(
            event_id=f"video-{person}-{n}",
            event="custom",
            name="video_watched",
            timestamp=AS_OF - timedelta(days=n + 1),
            user_id=f"h-{person}",
            consent=Consent(personalization=True),
        )
        for person in fans
        for n in range(4)
    ]
    return events


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    log = EventLog(tmp_path_factory.mktemp("journey-log"))
    log.append(rows(history()), part="all")
    profiles = {
        f"u:h-{n}": Profile(customer_group="trade" if n % 2 == 0 else "home") for n in range(60)
    }
    return read_training_data(
        log, as_of=AS_OF, weighting=Weighting(), catalog=items(), profiles=profiles
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, learnt: TrainingData) -> Iterator[Service]:
    """Every default placement over real models, its settings in two files beside it."""
    workspace = tmp_path_factory.mktemp("journey")
    fans = [{"name": "fans", "points": {"at_least": 15, "events": [
        {"event": "custom", "name": "video_watched", "points": 5}]}}]  # fmt: skip
    settings: dict[str, Any] = {
        "popularity_by_segment": {"segments": fans, "prior": 5},
        "als": {"embedding_size": 8},
        "hybrid": {"embedding_size": 8, "epochs": 5},
    }
    names = {
        name
        for placement in DEFAULT_PLACEMENTS
        for name in (*placement.models, *placement.fallback)
    }
    models = {
        name: MODELS[name].fit(
            learnt,
            MODELS[name].config.model_validate(settings.get(name, {})),
            rng=np.random.default_rng(3),
        )
        for name in sorted(names)
    }
    bundle = Bundle(
        manifest=Manifest(
            model_version="v1",
            as_of=AS_OF,
            window_from=AS_OF - timedelta(days=90),
            config_digest="c",
            code_revision="r",
        ),
        items=learnt.items,
        catalog=learnt.catalog,
        models=models,
        placements={placement.name: placement for placement in DEFAULT_PLACEMENTS},
        weighting=Weighting(),
        first_seen=first_seen(learnt),
    )
    root = workspace / "published"
    save_bundle(bundle, bundle_directory(root, "v1"))
    write_publication(root, Publication(variants=[Variant(name="champion", model_version="v1")]))
    (workspace / "segments.yaml").write_text(SEGMENTS)
    (workspace / "placements.yaml").write_text(PLACEMENTS)
    config = patient_config(
        workspace,
        placements=str(workspace / "placements.yaml"),
        segments=str(workspace / "segments.yaml"),
        bundle_poll_seconds=0.2,
    )
    with Service.start(workspace, workers=2, config=config) as service:
        yield service


@dataclass
class Shopper:
    """A customer of the shop, whose events carry consent."""

    service: Service
    name: str
    sent: int = field(default=0)

    def did(self, kind: str, *ids: str, days: float = 0.0, **fields: Any) -> None:
        self.sent += 1
        event = {
            "event_id": f"{self.name}-{self.sent}",
            "event": kind,
            "timestamp": (NOW - timedelta(days=days)).isoformat(),
            "user_id": self.name,
            "items": [{"item_id": id} for id in ids],
            "consent": YES,
            **fields,
        }
        with self.service.client() as client:
            assert client.send_events([event]).accepted == 1

    def list(self, placement: str, *, k: int = 6, page: Any = None, **fields: Any) -> Any:
        body = {
            "user": {"user_id": self.name},
            "placements": [{"placement": placement, "k": k, **fields}],
            **(page or {}),
        }
        answer = self.service.post("/v1/recommendations", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["placements"][0]

    def ids(self, placement: str, **fields: Any) -> list[str]:
        return [item["item_id"] for item in self.list(placement, **fields)["items"]]


@pytest.fixture
def shopper(service: Service, request: pytest.FixtureRequest) -> Shopper:
    return Shopper(service, request.node.name[:60])


@pytest.mark.parametrize(
    "name", sorted({placement.name for placement in DEFAULT_PLACEMENTS} - {"rerank"})
)
def test_every_placement_answers_customers_and_strangers(
    shopper: Shopper, service: Service, name: str
) -> None:
    shopper.did("view_item", "drill-1")
    shopper.did("purchase", "kettle", days=10)
    page = {"items": ["kettle"]} if name in ("similar", "bought_together") else {}
    answer = shopper.list(name, k=3, **page)
    assert answer["items"], answer
    assert answer["level"] in ("individual", "session", "page", "segment", "everybody")
    stranger = Shopper(service, "nobody").list(name, k=3, **page)
    assert bool(stranger["items"]) == (name != "recently_viewed")


def test_the_just_bought_kettle_does_not_nag_and_coffee_comes_back_when_it_is_due(
    shopper: Shopper,
) -> None:
    shopper.did("purchase", "kettle", days=2)
    shopper.did("purchase", "coffee", days=20)
    shown = shopper.ids("for_you", k=10)
    assert "kettle" not in shown
    assert "coffee" in shown
    shopper.did("purchase", "coffee")
    assert "coffee" not in shopper.ids("for_you", k=10)


def test_buy_again_shows_due_things_first_and_nothing_before_it_is_due(shopper: Shopper) -> None:
    shopper.did("purchase", "kettle", days=20)
    shopper.did("purchase", "coffee", days=20)
    first = shopper.list("buy_again")["items"][0]
    assert (first["item_id"], first["source"]) == ("coffee", "refill")
    assert "kettle" not in shopper.ids("buy_again")
    shopper.did("purchase", "coffee")
    again = shopper.list("buy_again")
    assert "coffee" not in [item["item_id"] for item in again["items"]]
    assert again["level"] in ("segment", "everybody")


def test_after_the_purchase_come_accessories_and_not_another_kettle(shopper: Shopper) -> None:
    shopper.did("purchase", "kettle", days=1)
    shown = shopper.list("complements_after_purchase")
    ids = [item["item_id"] for item in shown["items"]]
    assert ids[0] == "descaler"
    assert shown["level"] == "individual"
    assert "kettle" not in ids
    on_the_thank_you_page = shopper.ids("complements_after_purchase", items=["drill-1"])
    assert on_the_thank_you_page[0] == "filters"


def test_continue_shopping_shows_what_was_left_open(shopper: Shopper) -> None:
    shopper.did("view_item", "doll-1", days=0.3)
    shopper.did("add_to_cart", "tray", days=0.2)
    shopper.did("view_item", "kettle", days=0.1)
    assert shopper.ids("continue_shopping")[:3] == ["kettle", "tray", "doll-1"]
    assert shopper.ids("recently_viewed") == ["kettle", "tray", "doll-1"]
    shopper.did("purchase", "tray")
    assert shopper.ids("continue_shopping")[:2] == ["kettle", "doll-1"]


def test_new_for_you_shows_new_things_alone(shopper: Shopper) -> None:
    assert set(shopper.ids("new_for_you")) == set(NEWEST)
    shopper.did("purchase", "new-1")
    assert set(shopper.ids("new_for_you")) == {"new-2", "new-3"}


def test_on_sale_follows_the_live_prices(shopper: Shopper, service: Service) -> None:
    assert set(shopper.ids("on_sale")) == set(ON_SALE)
    with service.client() as client:
        client.put_items([{"item_id": "teapot", "price": 8.0, "list_price": 10.0}])
    service.wait_until(lambda: all("teapot" in shopper.ids("on_sale") for _ in range(6)))


def test_a_segment_sees_what_its_people_choose(shopper: Shopper, service: Service) -> None:
    def toys(**context: Any) -> set[str]:
        shown = Shopper(service, "nobody").list(
            "popular_in_segment", k=9, page={"context": context}
        )
        assert shown["level"] == "segment"
        return {item["item_id"].split("-")[0] for item in shown["items"]} & {"drill", "doll"}

    assert toys(country="NL", device="mobile") == {"drill"}
    assert toys(country="GB", device="desktop") == {"doll"}
    before = shopper.ids("popular_in_segment", k=9)
    for n in range(3):
        shopper.did("custom", name="video_watched", days=n)
    fans = shopper.list("popular_in_segment", k=9)
    assert fans["level"] == "segment"
    rainwear = {f"rain-{n}" for n in range(3)}
    assert len(rainwear & {item["item_id"] for item in fans["items"]}) > len(rainwear & set(before))
    refusing = {"consent": {"personalization": False}}
    assert shopper.ids("popular_in_segment", k=9, page=refusing) == before


def test_the_context_of_a_request_may_say_the_weather_and_the_day(shopper: Shopper) -> None:
    page = {"context": {"values": {"weather": "rain"}, "weekday": 6, "hour": 20}}
    assert shopper.list("for_you", page=page)["items"]
    body = {"placements": [{"placement": "for_you"}], "context": {"weekday": 7}}
    refused = shopper.service.post("/v1/recommendations", json=body)
    assert refused.status_code == 422


def test_what_was_shown_three_times_without_a_click_rests_in_every_place(
    shopper: Shopper,
) -> None:
    shopper.did("view_item", "doll-1", days=1)
    best = shopper.ids("for_you", k=4)[0]
    for n, channel in enumerate(("web", "mail", "app")):
        shopper.did("view_item_list", best, days=0.5 - n / 10, context={"channel": channel})
    assert best not in shopper.ids("for_you", k=4)
    shopper.did("select_item", best)
    assert best in shopper.ids("for_you", k=4)


def test_what_was_sent_back_is_not_shown_again(shopper: Shopper) -> None:
    shopper.did("view_item", "teapot", days=3)
    assert "teapot" in shopper.ids("for_you", k=8)
    shopper.did("purchase", "teapot", days=2)
    shopper.did("refund", "teapot", days=1)
    assert "teapot" not in shopper.ids("for_you", k=8)


def test_exploration_is_bounded_and_every_chance_is_on_record(
    service: Service, shopper: Shopper
) -> None:
    lists = [shopper.list("explorer", k=5)["items"] for _ in range(60)]
    drawn = [item for shown in lists for item in shown if item["source"] == "exploration"]
    assert 20 <= len(drawn) <= 60  # one place of five, of which all are used at a share of a fifth
    assert {item["item_id"] for item in drawn} <= set(NEWEST)
    assert min(item["position"] for item in drawn) >= 2

    def logged() -> list[Any]:
        store = SQLiteStore(service.workspace / "store.sqlite")
        try:
            answers = store.answers(since=NOW - timedelta(hours=1), until=NOW + timedelta(hours=1))
        finally:
            store.close()
        return [answer for answer in answers if answer.placement == "explorer"]

    service.wait_until(lambda: len(logged()) >= 60)
    for answer in logged():
        for source, propensity in zip(answer.sources, answer.propensities, strict=True):
            assert 0.0 <= propensity <= 1.0
            assert (propensity < 1.0) == (source == "exploration")


def test_a_changed_file_is_in_force_without_a_restart_and_a_bad_one_is_refused(
    service: Service, shopper: Shopper
) -> None:
    path: Path = service.workspace / "placements.yaml"

    def statuses() -> set[int]:
        body = {"placements": [{"placement": "evening"}]}
        return {service.post("/v1/recommendations", json=body).status_code for _ in range(8)}

    assert statuses() == {422}
    path.write_text(PLACEMENTS + "  - {name: evening, blend: {trending: 1.0}}\n")
    service.wait_until(lambda: statuses() == {200})
    path.write_text("placements: [{name: evening, blnd: {}}]")

    def refusals() -> float:
        text = service.get("/metrics").text
        wanted = 'recsys_shop_files_total{outcome="refused"} '
        return float(next((x[len(wanted) :] for x in text.splitlines() if wanted in x), 0))

    service.wait_until(lambda: refusals() >= 1)
    assert statuses() == {200}
    path.write_text(PLACEMENTS)
    service.wait_until(lambda: statuses() == {422})
