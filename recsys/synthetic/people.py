"""The people of the synthetic shop: tastes drawn from taste groups, and visiting rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.events.schema import Consent
from recsys.query.profile import Profile
from recsys.synthetic.assortment import (
    BRANDS_PER_DEPARTMENT,
    CATEGORIES,
    STYLE_SIZE,
    unit,
)

TASTE_GROUPS: Final = 8
COUNTRIES: Final = ("NL", "DE", "BE", "FR")
COUNTRY_SHARES: Final = (0.5, 0.25, 0.15, 0.1)
DEVICES: Final = ("mobile", "desktop", "tablet")
BUSINESS_SHARE: Final = 0.12

AGREED: Final = Consent(personalization=True, analytics=True)
REFUSED: Final = Consent(personalization=False, analytics=False)


@dataclass(frozen=True, slots=True)
class People:
    """Customers first, then visitors who never log in; arrays have one entry per person.

    Person n has the visitor id `v-0000n`; customers have the customer id `c-000n` as well.
    """

    customers: int
    groups: NDArray[np.int64]
    """The taste group that weighs most."""
    category_logits: NDArray[np.float64]
    """people × CATEGORIES."""
    styles: NDArray[np.float64]
    """people × STYLE_SIZE, unit length."""
    brand_logits: NDArray[np.float64]
    """people × brands; about 1.8 for a brand that the person is loyal to."""
    price_sensitivity: NDArray[np.float64]
    visits_per_day: NDArray[np.float64]
    refuses: NDArray[np.bool_]
    login_day: NDArray[np.int64]
    """First day on which the person logs in; beyond every history for strangers."""
    countries: NDArray[np.int64]
    """Index into COUNTRIES."""
    devices: NDArray[np.int64]
    """Index into DEVICES."""
    profiles: tuple[Profile, ...]
    """Of the customers alone."""

    def __len__(self) -> int:
        return len(self.groups)

    def user_id(self, person: int) -> str | None:
        """The customer id, None for a stranger."""
        return f"c-{person:04d}" if person < self.customers else None

    def visitor_id(self, person: int) -> str:
        """The id of the person's browser."""
        return f"v-{person:05d}"

    def consent(self, person: int) -> Consent:
        """What the person agreed to."""
        return REFUSED if self.refuses[person] else AGREED


NEVER: Final = np.iinfo(np.int64).max


def make_people(
    *,
    customers: int,
    strangers: int,
    customer_visits_per_day: float,
    stranger_visits_per_day: float,
    late_login_share: float,
    refusal_share: float,
    days: int,
    rng: Generator,
) -> People:
    """People with the tastes of one group mostly, a little of other groups, and individual noise.

    Visits per day follow a gamma distribution (shape 1.2): few heavy visitors, many light ones.
    """
    count = customers + strangers
    departments = list(dict.fromkeys(category.department for category in CATEGORIES))
    department_of = np.array([departments.index(c.department) for c in CATEGORIES])
    mix = rng.dirichlet(np.full(TASTE_GROUPS, 0.2), count)
    countries = rng.choice(len(COUNTRIES), count, p=COUNTRY_SHARES)
    business = rng.random(count) < BUSINESS_SHARE

    group_likes = rng.normal(0.0, 1.9, (TASTE_GROUPS, len(CATEGORIES)))
    country_likes = rng.normal(0.0, 0.5, (len(COUNTRIES), len(CATEGORIES)))
    category_logits = (
        rng.normal(0.0, 0.3, len(CATEGORIES))
        + mix @ group_likes
        + country_likes[countries]
        + rng.normal(0.0, 0.4, (count, len(CATEGORIES)))
    )
    category_logits[business] += 1.8 * (department_of == departments.index("Office"))

    group_styles = unit(rng.normal(size=(TASTE_GROUPS, STYLE_SIZE)))
    own_styles = unit(rng.normal(size=(count, STYLE_SIZE)))
    brands = len(departments) * BRANDS_PER_DEPARTMENT
    likes_brand = rng.integers(0, BRANDS_PER_DEPARTMENT, (count, len(departments)))
    loyal = rng.random((count, len(departments))) < 0.4
    brand_logits = rng.normal(0.0, 0.2, (count, brands))
    who, where = np.nonzero(loyal)
    brand_logits[who, where * BRANDS_PER_DEPARTMENT + likes_brand[who, where]] += 1.8

    sensitive = rng.random(count) < 0.35
    is_customer = np.arange(count) < customers
    late = rng.random(count) < late_login_share
    login_day = np.where(late, rng.integers(0, max(1, round(days * 0.7)), count), 0)
    rate = np.where(is_customer, customer_visits_per_day, stranger_visits_per_day)
    refuses = rng.random(count) < refusal_share
    profiles = tuple(
        Profile(
            user_id=f"c-{n:04d}",
            country=COUNTRIES[countries[n]],
            customer_group="business" if business[n] else "private",
            consent=REFUSED if refuses[n] else AGREED,
            traits={"synthetic": True},
        )
        for n in range(customers)
    )
    return People(
        customers=customers,
        groups=np.argmax(mix, axis=1),
        category_logits=category_logits,
        styles=unit(mix @ group_styles + 0.45 * own_styles),
        brand_logits=brand_logits,
        price_sensitivity=np.where(sensitive, 2.5, 0.2) * rng.uniform(0.8, 1.2, count),
        visits_per_day=rate * rng.gamma(1.2, 1.0 / 1.2, count),
        refuses=refuses,
        login_day=np.where(is_customer, login_day, NEVER),
        countries=countries,
        devices=rng.choice(len(DEVICES), count, p=(0.55, 0.38, 0.07)),
        profiles=profiles,
    )
