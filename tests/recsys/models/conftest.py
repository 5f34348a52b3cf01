"""Small shops for the tests of single models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.events.log import EventLog, rows
from recsys.events.schema import Event, EventContext, EventItem
from recsys.events.weighting import Weighting
from recsys.query.profile import Profile

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)

Done = tuple[str | None, float, Sequence[str]]
"""Who (None: anonymous), how many days before AS_OF, which items."""
Reader = Callable[..., TrainingData]


@pytest.fixture(scope="session")
def read(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Purchases → training data, through the event log."""

    def read_purchases(
        purchases: Sequence[Done],
        *,
        kind: str = "purchase",
        catalog: Sequence[Item] = (),
        countries: Mapping[str, str] | None = None,
        profiles: Mapping[str, Profile] | None = None,
        weighting: Weighting | None = None,
    ) -> TrainingData:
        by_person = countries or {}
        events = [
            Event(
                event_id=f"e{number}",
                event=kind,  # type: ignore[arg-type]
                timestamp=AS_OF - timedelta(days=days),
                user_id=person,
                items=[EventItem(item) for item in items],
                context=EventContext(country=by_person.get(person or "")),
            )
            for number, (person, days, items) in enumerate(purchases)
        ]
        log = EventLog(tmp_path_factory.mktemp("log"))
        log.append(rows(events), part="all")
        return read_training_data(
            log,
            as_of=AS_OF,
            weighting=weighting or Weighting(kind_weights={"purchase": 1.0}, half_life_days=1e9),
            catalog=catalog,
            profiles=profiles,
        )

    return read_purchases


@pytest.fixture(scope="session")
def checkerboard(read: Reader) -> TrainingData:
    """40 people buy six items each: even ones or odd ones out of 20, never both."""
    rng = np.random.default_rng(5)
    return read(
        [
            (f"p{person:02}", 10.0 + n, [f"i{int(item) * 2 + person % 2:02}"])
            for person in range(40)
            for n, item in enumerate(rng.choice(10, 6, replace=False))
        ]
    )


@pytest.fixture(scope="session")
def random_shop(read: Reader) -> TrainingData:
    """30 people, 25 items, weights that differ; i24 is in the catalogue alone."""
    rng = np.random.default_rng(11)
    popularity = 1.0 / np.arange(1, 25)
    purchases = [
        (
            f"p{rng.integers(30):02}",
            float(rng.uniform(1, 200)),
            [f"i{n:02}" for n in rng.choice(24, 3, replace=False, p=popularity / popularity.sum())],
        )
        for _ in range(120)
    ]
    return read(
        purchases,
        catalog=[Item(item_id="i24")],
        weighting=Weighting(kind_weights={"purchase": 2.0}, half_life_days=60.0),
    )
