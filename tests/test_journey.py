"""The whole way: events over HTTP → the night → new answers without a restart → a "no" counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console
from running_service import Service

from recsys.catalog.items import Item
from recsys.events.schema import Event
from recsys.synthetic import ShopConfig, SyntheticShop, make_shop, simulate
from serving.client import Client
from training.config import TrainingConfig
from training.pipeline import nightly

DAYS = 24
OPENING = date(2026, 9, 1)
"""The simulated days are always the same ones, whatever day it is."""
AS_OF = datetime(2026, 9, 25, tzinfo=UTC)
"""The end of the simulated days; the shop is moved in time so that this moment is now."""
SHIFT = datetime.now(UTC).replace(microsecond=0) - AS_OF
CONFIG = {
    "recipe": {
        "models": {
            "popularity": {},
            "repeat": {},
            "random_walk": {},
            "session": {},
            "bought_together": {"min_customers": 1},
        },
        "placements": [
            {
                "name": "for_you",
                "blend": {"session": 0.3, "random_walk": 0.4, "repeat": 0.3},
                "fallback": ["popularity"],
            },
            {
                "name": "bought_together",
                "blend": {"bought_together": 1.0},
                "fallback": ["popularity"],
            },
            {"name": "rerank", "blend": {"random_walk": 1.0}, "fallback": []},
        ],
        "blend_search": {"sweeps": 0},
    },
    "split": {"test_days": 7, "validation_days": 7},
    "evaluation": {"resamples": 200},
    "gate": {"resamples": 300},
}


@pytest.fixture(scope="module")
def shop() -> SyntheticShop:
    config = ShopConfig(customers=150, items=120, days=DAYS, start=OPENING, visits_per_month=8)
    return make_shop(config, rng=np.random.default_rng(21))


@pytest.fixture(scope="module")
def items(shop: SyntheticShop) -> list[Item]:
    """The shop's catalogue, its dates moved by SHIFT."""
    return [
        item
        if item.available_from is None
        else msgspec.structs.replace(item, available_from=item.available_from + SHIFT)
        for item in shop.items
    ]


@pytest.fixture(scope="module")
def past(shop: SyntheticShop) -> list[Event]:
    """What the shop's visitors did until AS_OF, moved by SHIFT."""
    batches = simulate(shop, days=DAYS, rng=np.random.default_rng(22))
    return [
        msgspec.structs.replace(event, timestamp=event.timestamp + SHIFT)
        for batch in batches
        for event in batch
        if event.timestamp < AS_OF
    ]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service over an empty workspace: it lives, and has nothing to answer with."""
    workspace = tmp_path_factory.mktemp("journey")
    with Service.start(workspace, workers=1, ready=False) as service:
        yield service


def night(service: Service, *, seed: int) -> nightly.NightlyOutcome:
    config = json.loads(json.dumps(CONFIG))
    config["workspace"] = str(service.workspace)
    config["recipe"]["seed"] = seed
    return nightly.run(
        TrainingConfig.model_validate(config),
        console=Console(quiet=True),
        started=datetime.now(UTC),
    )


def lists(client: Client, person: dict[str, str]) -> tuple[str, list[str]]:
    answer = client.recommend(person, [{"placement": "for_you", "k": 10}])
    return answer.model_version, [item.item_id for item in answer.placements[0].items]


def send(client: Client, events: Sequence[Any]) -> None:
    for first in range(0, len(events), 200):
        batch = [msgspec.to_builtins(event) for event in events[first : first + 200]]
        answer = client.send_events(batch)
        assert answer.rejected == 0, answer
        assert answer.accepted == len(batch)


def happened(kind: str, person: dict[str, str], item: str, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"{kind}-{item}-{person}-{datetime.now(UTC).timestamp()}",
        "event": kind,
        "timestamp": datetime.now(UTC).isoformat(),
        **person,
        "items": [{"item_id": item}],
        "consent": {"personalization": True, "analytics": True},
        **more,
    }


def test_from_the_first_event_to_an_answer_that_has_learnt(
    service: Service, shop: SyntheticShop, items: list[Item], past: list[Event]
) -> None:
    with service.client() as client:
        assert service.lives()
        assert not client.ready()

        # The shop sends its catalogue and what its visitors do.
        client.put_items([msgspec.to_builtins(item) for item in items])
        send(client, past)

        # The night makes the first version; the running service takes it up.
        first = night(service, seed=1)
        assert first.promoted, first.reasons
        service.wait_until(client.ready)
        known = {"user_id": regular(past)}
        version, before = lists(client, known)
        assert version == first.summary["model_version"]
        assert len(before) == 10

        # A click changes the next answer.
        unlike = next(
            item.item_id
            for item in shop.items
            if item.category not in [shop.items[shop.item_number(i)].category for i in before]
            and item.available_from is None
        )
        client.send_events([happened("view_item", known, unlike)])
        _, after_click = lists(client, known)
        assert after_click != before

        # A "no" hides the item from the next answer on; `undo` brings it back.
        client.send_events([happened("feedback", known, after_click[0], action="not_interested")])
        _, after_no = lists(client, known)
        assert after_click[0] not in after_no
        client.send_events([happened("feedback", known, after_click[0], action="undo")])
        assert after_click[0] in lists(client, known)[1]

        # The next night learns from what happened since, and the answers change without a restart.
        fans = [{"user_id": f"fan-{number}"} for number in range(40)]
        crowd = [
            happened(kind, fan, item)
            for fan in fans
            for kind, item in (("purchase", unlike), ("purchase", before[0]))
        ]
        client.send_events(crowd)
        stranger = {"anonymous_id": "v-new"}
        client.send_events([happened("view_item", stranger, unlike)])
        _, before_night = lists(client, stranger)
        second = night(service, seed=1)
        assert second.promoted, second.reasons
        service.wait_until(lambda: lists(client, stranger)[0] == second.summary["model_version"])
        _, after_night = lists(client, stranger)
        assert after_night != before_night
        assert after_night.index(before[0]) < 3
        assert service.process.poll() is None


def regular(events: Sequence[Any]) -> str:
    """The customer with the most events among those who agreed."""
    counts: dict[str, int] = {}
    for event in events:
        if event.user_id is not None and event.personalization:
            counts[event.user_id] = counts.get(event.user_id, 0) + 1
    return max(counts, key=lambda user: counts[user])
