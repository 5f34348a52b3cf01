"""The synthetic shop and its truth: tastes, complements and the relevance of search results."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recsys.catalog.items import Item
from recsys.errors import InvalidInput
from recsys.query.profile import Profile
from recsys.synthetic.assortment import CATEGORIES, Assortment, make_assortment, season
from recsys.synthetic.people import People, make_people
from recsys.synthetic.queries import SearchEngine, make_search_engine

STYLE_STRENGTH: Final = 3.2
"""Logits between an item in exactly the person's style and one at right angles to it."""
TREND_STRENGTH: Final = 1.5
TREND_SECONDS: Final = 14 * 86_400.0


class ShopConfig(BaseModel):
    """How large the synthetic shop is and how its visitors behave; shares are 0 to 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    customers: int = Field(default=200, ge=1, description="people with a customer number")
    items: int = Field(default=150, ge=len(CATEGORIES), description="at least one per category")
    days: int = Field(default=60, ge=1, description="length of the history that is simulated")
    start: date = Field(default=date(2026, 7, 1), description="first day of the history, UTC")
    visits_per_month: float = Field(default=3.5, gt=0, description="mean visits of a customer")
    anonymous_share: float = Field(
        default=0.3, ge=0, lt=1, description="share of the visits by people who never log in"
    )
    late_login_share: float = Field(
        default=0.3, ge=0, le=1, description="customers who browse anonymously before they log in"
    )
    refusal_share: float = Field(
        default=0.05, ge=0, le=1, description="people who refuse personalisation"
    )
    new_item_share: float = Field(
        default=0.1, ge=0, lt=1, description="items whose sale begins during the history"
    )
    conversion: float = Field(
        default=0.4, ge=0, le=1, description="visits of customers that end in a purchase"
    )
    search_share: float = Field(default=0.3, ge=0, le=1, description="category visits by search")
    listing_share: float = Field(
        default=0.2, ge=0, le=1, description="category visits by a category page"
    )
    refund_share: float = Field(default=0.03, ge=0, le=1, description="lines sent back")
    page_size: int = Field(default=12, ge=1, le=100, description="items on a list page")
    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")
    """Currency of prices, three capital letters."""

    @property
    def opening(self) -> datetime:
        """Midnight UTC of the first day."""
        return datetime.combine(self.start, time(), UTC)


@dataclass(frozen=True, slots=True)
class SyntheticShop:
    """An invented shop whose true tastes, complements and relevance grades are known.

    Items carry the attribute `synthetic: true` and profiles the trait `synthetic: true`. A person
    is named by a customer id (`c-0042`) or a visitor id (`v-00042`); InvalidInput for other ids.
    """

    config: ShopConfig
    assortment: Assortment
    people: People
    engine: SearchEngine

    @property
    def items(self) -> tuple[Item, ...]:
        """The whole catalogue, items that are yet to come included."""
        return self.assortment.items

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """What the shop declares about its customers."""
        return self.people.profiles

    def purchase_probabilities(self, person: str, when: datetime) -> NDArray[np.float64]:
        """Per item the chance that this person chooses it next at `when`; 0 before its sale.

        In the order of `items`; sums to 1, or all are 0 where nothing is on sale. It is the first
        choice of a visit: refills and complements come on top of it.
        A nested choice: P(i) = P(category) · P(i | category), both multinomial logit.
        """
        people = np.array([self.person_number(person)])
        category_logits = self.category_logits(people, when)[0]
        logits = self.item_logits(people, when)[0]
        chances = np.zeros(len(logits))
        weights = np.exp(category_logits - category_logits.max())
        for category, members in enumerate(self.members(when)):
            if len(members):
                within = np.exp(logits[members] - logits[members].max())
                chances[members] = weights[category] * within / within.sum()
        return np.asarray(chances / max(chances.sum(), np.finfo(np.float64).tiny))

    def category_logits(self, people: NDArray[np.int64], when: datetime) -> NDArray[np.float64]:
        """people × CATEGORIES: taste plus season."""
        return np.asarray(self.people.category_logits[people] + season(when.date()))

    def item_logits(self, people: NDArray[np.int64], when: datetime) -> NDArray[np.float64]:
        """people × items: style + brand − price sensitivity · log relative price + popularity."""
        goods, crowd = self.assortment, self.people
        age = when.timestamp() - goods.trend_starts
        fashion = TREND_STRENGTH * ((age >= 0.0) & (age < TREND_SECONDS))
        return np.asarray(
            STYLE_STRENGTH * (crowd.styles[people] @ goods.styles.T)
            + crowd.brand_logits[people][:, goods.brands]
            - crowd.price_sensitivity[people, None] * goods.relative_prices
            + (goods.popularity + fashion)
        )

    def members(self, when: datetime) -> list[NDArray[np.int64]]:
        """Per category the numbers of the items on sale at `when`."""
        on_sale = self.assortment.opens <= when.timestamp()
        return [
            np.flatnonzero(on_sale & (self.assortment.categories == category))
            for category in range(len(CATEGORIES))
        ]

    def price_sensitivity(self, person: str) -> float:
        """Logits lost when an item costs e times its category's median; 0 is indifferent."""
        return float(self.people.price_sensitivity[self.person_number(person)])

    def complements(self, item: str) -> dict[str, float]:
        """Items that a buyer of `item` adds to the basket, with their probabilities."""
        pairs = self.assortment.complements[self.item_number(item)]
        return {self.items[number].item_id: chance for number, chance in pairs.items()}

    @property
    def queries(self) -> tuple[str, ...]:
        """The search terms that visitors of this shop use."""
        return self.engine.terms

    def relevance(self, query: str) -> dict[str, int]:
        """True grades of a search term: 3 exactly meant, 2 good, 1 related; others are 0."""
        grades = self.engine.grades[self.engine.number(query)]
        return {self.items[n].item_id: int(grades[n]) for n in np.flatnonzero(grades).tolist()}

    def search(self, query: str, when: datetime, *, n: int = 24) -> list[tuple[str, float]]:
        """The shop's own imperfect search result: item ids with engine scores, best first."""
        page = self.engine.page(query, self.assortment.opens <= when.timestamp(), n)
        return [(self.items[number].item_id, score) for number, score in page]

    def item_number(self, item: str) -> int:
        """The position of an item in `items`."""
        return _number(item, "sku-", 5, len(self.items), "item")

    def person_number(self, person: str) -> int:
        """The position of a customer or visitor in the arrays of `people`."""
        if person.startswith("c-"):
            return _number(person, "c-", 4, self.people.customers, "person")
        return _number(person, "v-", 5, len(self.people), "person")


def make_shop(config: ShopConfig, *, rng: Generator) -> SyntheticShop:
    """A shop drawn from `rng`: the same configuration and seed give the same shop."""
    assortment = make_assortment(
        count=config.items,
        opening=config.opening,
        days=config.days,
        new_share=config.new_item_share,
        rng=rng,
    )
    customer_visits = config.customers * config.visits_per_month / 30.0 * config.days
    stranger_visits = customer_visits * config.anonymous_share / (1.0 - config.anonymous_share)
    people = make_people(
        customers=config.customers,
        strangers=round(stranger_visits / VISITS_PER_STRANGER),
        customer_visits_per_day=config.visits_per_month / 30.0,
        stranger_visits_per_day=VISITS_PER_STRANGER / config.days,
        late_login_share=config.late_login_share,
        refusal_share=config.refusal_share,
        days=config.days,
        rng=rng,
    )
    engine = make_search_engine(assortment.items, assortment.categories, rng=rng)
    return SyntheticShop(config=config, assortment=assortment, people=people, engine=engine)


VISITS_PER_STRANGER: Final = 1.5
"""Mean number of visits of a passing visitor in the whole history."""


def _number(id: str, prefix: str, width: int, count: int, field: str) -> int:
    digits = id.removeprefix(prefix)
    if digits.isdecimal() and int(digits) < count and id == f"{prefix}{int(digits):0{width}d}":
        return int(digits)
    first, last = (f"{prefix}{n:0{width}d}" for n in (0, count - 1))
    raise InvalidInput(field, id, f"use an id of this shop, {first} to {last}")
