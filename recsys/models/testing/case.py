"""The small synthetic shop of the contract suite, and a family fitted to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.catalog.items import Item
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.events.log import EventLog, rows
from recsys.events.schema import Event, EventContext, EventItem, EventKind
from recsys.events.weighting import Weighting
from recsys.ids import NONE, Mask, Numbers
from recsys.models.family import ModelFamily
from recsys.models.protocol import Model
from recsys.query.builder import stranger_query
from recsys.query.profile import Profile
from recsys.query.query import Context, Query

AS_OF: Final = datetime(2026, 6, 1, tzinfo=UTC)
N_ITEMS: Final = 48
N_USERS: Final = 61
"""A prime that no other size in the shop shares, so that a row per user shows in a shape."""
COUNTRIES: Final = ("NL", "DE", "FR")
TERMS: Final = ("mug", "red lamp")
ALL: Final[Numbers] = np.arange(N_ITEMS, dtype=np.int32)
EVERYTHING: Final[Mask] = np.ones(N_ITEMS, np.bool_)


@dataclass(frozen=True, slots=True)
class Naming:
    """How the shop's items and users are named: prefix and number, upwards or downwards."""

    item: str = "i"
    user: str = "user-"
    reverse: bool = False

    def item_id(self, n: int) -> str:
        """The id of item n."""
        return f"{self.item}{N_ITEMS - n if self.reverse else n:03}"

    def user_id(self, n: int) -> str:
        """The id of user n."""
        return f"{self.user}{N_USERS - n if self.reverse else n:03}"


@dataclass(frozen=True, slots=True)
class ContractShop:
    """The training data under some naming."""

    data: TrainingData
    naming: Naming

    def person_keys(self) -> list[str]:
        """The key of each user."""
        return [f"u:{self.naming.user_id(n)}" for n in range(N_USERS)]

    def numbers(self, items: list[int]) -> Numbers:
        """The row numbers of items by their number in the shop."""
        return self.data.items.numbers([self.naming.item_id(n) for n in items])

    def queries(self) -> list[Query]:
        """Everybody at the end, a third of them on an item page, and two who are unknown."""
        known = self.data.queries(self.person_keys(), now=AS_OF)
        on_page = [self.numbers([user % N_ITEMS, 3]) for user in range(N_USERS)]
        return [
            *(
                replace(
                    query,
                    seeds=on_page[user] if user % 3 == 0 else NONE,
                    session=query.history.since(query.history.times[-1]),
                )
                for user, query in enumerate(known)
            ),
            stranger_query(AS_OF),
            stranger_query(AS_OF, context=Context(country="NL", search_term="Mug")),
        ]


@cache
def contract_shop(naming: Naming = Naming()) -> ContractShop:
    """Two tastes (even and odd items) over four categories, three countries, two groups."""
    events = _events(naming)
    with TemporaryDirectory() as folder:
        log = EventLog(Path(folder))
        log.append(rows(events), part="all")
        data = read_training_data(
            log,
            as_of=AS_OF,
            weighting=Weighting(),
            catalog=[_item(naming, n) for n in range(N_ITEMS)],
            profiles={f"u:{naming.user_id(n)}": _profile(naming, n) for n in range(N_USERS)},
        )
    return ContractShop(data, naming)


@dataclass(frozen=True, slots=True)
class Case:
    """A family, its settings for the shop, and the model that it fits there."""

    family: ModelFamily
    settings: Mapping[str, Any]
    shop: ContractShop
    model: Model

    def refitted(self, *, seed: int = 1, naming: Naming | None = None) -> Case:
        """The same family fitted anew: with another seed, or to the shop under other names."""
        shop = self.shop if naming is None else contract_shop(naming)
        return fitted_case(self.family, self.settings, seed=seed, shop=shop)

    def scores(self) -> NDArray[np.float32]:
        """The score of every item for every query of the shop: queries × items."""
        queries = self.shop.queries()
        return np.array(self.model.condition(queries).score([ALL] * len(queries)))


def fitted_case(
    family: ModelFamily,
    settings: Mapping[str, Any],
    *,
    seed: int = 1,
    shop: ContractShop | None = None,
) -> Case:
    """The family fitted to the shop."""
    shop = shop or contract_shop()
    config = family.config.model_validate(dict(settings))
    model = family.fit(shop.data, config, rng=np.random.default_rng(seed))
    return Case(family, settings, shop, model)


def _events(naming: Naming) -> list[Event]:
    rng = np.random.default_rng(7)
    events: list[Event] = []
    for user in range(N_USERS):
        for visit in range(int(rng.integers(2, 6))):
            start = AS_OF - timedelta(days=float(rng.uniform(1, 120)), seconds=visit)
            taste = user % 2
            seen = [int(item) for item in rng.choice(N_ITEMS // 2, 4, replace=False) * 2 + taste]
            visited: tuple[tuple[EventKind, list[int]], ...] = (
                ("view_item_list", [*seen[:2], (seen[0] + 7) % N_ITEMS]),
                ("view_item", seen[:1]),
                ("view_item", seen[3:]),
                ("purchase", seen[:3]),
            )
            for kind, items in visited:
                events.append(
                    Event(
                        event_id=f"{user}-{visit}-{kind}-{items}",
                        event=kind,
                        timestamp=start + timedelta(minutes=len(events) % 7),
                        user_id=naming.user_id(user),
                        items=[EventItem(naming.item_id(item)) for item in items],
                        search_term=TERMS[visit % 2] if kind == "view_item_list" else None,
                        context=EventContext(country=COUNTRIES[user % 3]),
                    )
                )
    return events


def _item(naming: Naming, n: int) -> Item:
    shelf = n % 8 // 2
    return Item(
        item_id=naming.item_id(n),
        title=f"{('red', 'blue')[n % 2]} {('mug', 'bowl', 'lamp', 'rug')[shelf]} number {n}",
        category=["Home", ("Kitchen", "Living")[n % 8 // 4], f"Shelf {shelf}"],
        brand=f"Brand {n % 5}",
        price=float(3 + n),
    )


def _profile(naming: Naming, n: int) -> Profile:
    return Profile(
        user_id=naming.user_id(n),
        country=COUNTRIES[n % 3],
        customer_group=("home", "trade")[n % 2],
    )
