"""The synthetic shop's organic history: what its people do when nobody recommends anything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.events.schema import Event
from recsys.synthetic.assortment import CATEGORIES
from recsys.synthetic.shop import SyntheticShop
from recsys.synthetic.visits import Line, Visit, refund_of

WEEKDAYS: Final = (0.9, 0.85, 0.9, 0.95, 1.1, 1.25, 1.05)
"""Visits on Monday to Sunday, relative to the mean."""
OPEN_HOURS: Final = (7.0, 22.5)
REFILL_LOYALTY: Final = 0.75
"""How often a refill that is due is bought again in this shop."""
SAME_REFILL: Final = 0.85
"""How often it is then the very same item."""
OWNED: Final = 3.0
"""Logits that a lasting item loses once it is owned."""
STRANGER_CONVERSION: Final = 0.4
"""Conversion of strangers relative to that of customers."""
POSITION_LOGITS: Final = 0.6
"""Logits lost per unit of log(1 + position) on a list page."""
GRADE_LOGITS: Final = 0.5
"""Logits gained per grade of true relevance to the search term."""
CELLS_AT_ONCE: Final = 4_000_000
"""Limit of visits × items that are scored in one piece."""


@dataclass(slots=True)
class _Households:
    """The state of a history: items owned, refills due, refunds to come, visitors identified."""

    owned: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    refills: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Day → the pairs of person and item that are due on it."""
    refunds: dict[int, list[Event]] = field(default_factory=lambda: defaultdict(list))
    identified: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Plan:
    """One visit before it happens; `refill` is the item that is due, None for browsing."""

    person: int
    start: datetime
    refill: int | None
    category_scores: NDArray[np.float64]
    """Category logits with Gumbel noise: their order is a draw from the choice model."""
    wishes: NDArray[np.float64]
    """Item logits with Gumbel noise."""


def simulate(shop: SyntheticShop, *, days: int, rng: Generator) -> Iterator[list[Event]]:
    """The events of each day from the first on, in order of time; synthetic, from `rng` alone.

    Everything that a visit does lies on its day (UTC). Events carry the person's consent; what
    it denies must not be stored with the person.
    """
    homes = _Households()
    for day in range(days):
        midnight = shop.config.opening + timedelta(days=day)
        members = shop.members(midnight + timedelta(hours=12))
        events = homes.refunds.pop(day, [])
        leaves: dict[int, datetime] = {}
        for plan in _plans(shop, day, midnight, members, homes, rng):
            if plan.start < leaves.get(plan.person, midnight):
                continue  # Nobody is in the shop twice at once.
            visited = _visit(shop, plan, day, members, homes, rng)
            if visited:
                leaves[plan.person] = visited[-1].timestamp
            events.extend(visited)
        events.sort(key=lambda event: event.timestamp)
        yield events


def _plans(
    shop: SyntheticShop,
    day: int,
    midnight: datetime,
    members: Sequence[NDArray[np.int64]],
    homes: _Households,
    rng: Generator,
) -> Iterator[_Plan]:
    """The day's visits by start: Poisson at each person's rate, one for each refill kept."""
    crowd = shop.people
    browsing = rng.poisson(crowd.visits_per_day * WEEKDAYS[midnight.weekday()])
    due = [pair for pair in homes.refills.pop(day, []) if rng.random() < REFILL_LOYALTY]
    people = np.concatenate(
        [np.repeat(np.arange(len(crowd)), browsing), [person for person, _ in due]]
    ).astype(np.int64)
    refills: list[int | None] = [None] * int(browsing.sum()) + [item for _, item in due]
    seconds = np.round(rng.uniform(*OPEN_HOURS, len(people)) * 3600.0)
    order = np.argsort(seconds, kind="stable")
    noon = midnight + timedelta(hours=12)
    empty = np.array([not len(numbers) for numbers in members])
    at_once = max(1, CELLS_AT_ONCE // len(shop.items))
    for first in range(0, len(people), at_once):
        turns = order[first : first + at_once]
        part = people[turns]
        category_scores = shop.category_logits(part, noon)
        category_scores = np.where(
            empty, -np.inf, category_scores + rng.gumbel(size=category_scores.shape)
        )
        wishes = shop.item_logits(part, noon)
        wishes += rng.gumbel(size=wishes.shape)
        for row, turn in enumerate(turns.tolist()):
            person = int(people[turn])
            for item in homes.owned.get(person, ()):
                category = int(shop.assortment.categories[item])
                if CATEGORIES[category].refill_days is None:
                    wishes[row, item] -= OWNED
                if CATEGORIES[category].once:
                    category_scores[row, category] -= OWNED
            start = midnight + timedelta(seconds=float(seconds[turn]))
            yield _Plan(person, start, refills[turn], category_scores[row], wishes[row])


def _visit(
    shop: SyntheticShop,
    plan: _Plan,
    day: int,
    members: Sequence[NDArray[np.int64]],
    homes: _Households,
    rng: Generator,
) -> list[Event]:
    person = plan.person
    visit = Visit(shop, person, start=plan.start, rng=rng)
    may_log_in = day >= shop.people.login_day[person]
    at_once = may_log_in and (person not in homes.identified or rng.random() < 0.85)
    if at_once:
        if person in homes.identified:
            visit.resume(logged_in=True)
        else:
            visit.log_in()
            homes.identified.add(person)
    stranger = person >= shop.people.customers
    conversion = shop.config.conversion * (STRANGER_CONVERSION if stranger else 1.0)
    buys = plan.refill is not None or rng.random() < conversion
    basket = _browse(shop, visit, plan, members, rng, buys=buys)
    if buys and basket:
        basket = _with_complements(shop, visit, basket, plan.start, rng)
        if may_log_in and not at_once:
            visit.log_in()
        purchase = visit.check_out(basket)
        _bring_home(shop, person, day, purchase, basket, homes, rng)
    return visit.events


def _browse(
    shop: SyntheticShop,
    visit: Visit,
    plan: _Plan,
    members: Sequence[NDArray[np.int64]],
    rng: Generator,
    *,
    buys: bool,
) -> list[Line]:
    """Browses one to three categories and gives the lines that stay in the cart."""
    basket: list[Line] = []
    if plan.refill is not None:
        item = plan.refill
        if rng.random() >= SAME_REFILL:
            listed = members[shop.assortment.categories[item]]
            item = int(listed[np.argmax(plan.wishes[listed])])
        visit.view(item)
        basket.append((item, _pieces(shop, item, rng)))
        visit.cart(*basket[0])
        if rng.random() < 0.6:
            return basket
    category_scores = np.argsort(-plan.category_scores)[: 1 + int(rng.binomial(2, 0.3))]
    for category in category_scores[np.isfinite(plan.category_scores[category_scores])].tolist():
        looked_at = _look_along(shop, visit, plan, category, members[category], rng)
        if not looked_at:
            continue
        favourite = looked_at[-1]
        if buys and (not basket or rng.random() < 0.6):
            line = (favourite, _pieces(shop, favourite, rng))
            if all(number != favourite for number, _ in basket):
                visit.cart(*line)
                basket.append(line)
        elif rng.random() < 0.12:
            visit.cart(favourite, 1.0)
            if rng.random() < 0.4:
                visit.drop(favourite)
        elif rng.random() < 0.08:
            visit.wish(favourite)
    return basket


def _look_along(
    shop: SyntheticShop,
    visit: Visit,
    plan: _Plan,
    category: int,
    listed: NDArray[np.int64],
    rng: Generator,
) -> list[int]:
    """Reaches a category by search, listing page or directly; the favourite is viewed last."""
    way = rng.random()
    page: list[int] = []
    logits = plan.wishes[listed]
    candidates = listed
    if way < shop.config.search_share:
        term = shop.engine.terms[int(rng.choice(shop.engine.about(category)))]
        on_sale = shop.assortment.opens <= plan.start.timestamp()
        page = [n for n, _ in shop.engine.page(term, on_sale, shop.config.page_size)]
        visit.search(term, page)
        if not page:
            return []
        candidates = np.array(page)
        grades = shop.engine.grades[shop.engine.number(term), candidates]
        logits = plan.wishes[candidates] + GRADE_LOGITS * grades
    elif way < shop.config.search_share + shop.config.listing_share:
        order = np.argsort(-shop.assortment.popularity[listed])
        candidates = listed[order][: shop.config.page_size]
        page = candidates.tolist()
        visit.see_list(page)
        logits = plan.wishes[candidates]
    if page:
        logits = logits - POSITION_LOGITS * np.log1p(np.arange(len(page)))
    count = 1 + int(rng.poisson(0.9))
    best = np.argsort(-logits)[:count]
    for position in best[::-1].tolist():
        if page:
            visit.select(page[position], position)
        visit.view(int(candidates[position]))
    return [int(candidates[position]) for position in best[::-1].tolist()]


def _with_complements(
    shop: SyntheticShop, visit: Visit, basket: Sequence[Line], when: datetime, rng: Generator
) -> list[Line]:
    """The basket and what goes with its items, each with the probability of the truth."""
    full = dict(basket)
    for number, _ in basket:
        for other, chance in shop.assortment.complements[number].items():
            on_sale = shop.assortment.opens[other] <= when.timestamp()
            if on_sale and other not in full and rng.random() < chance:
                visit.view(other)
                full[other] = _pieces(shop, other, rng)
                visit.cart(other, full[other])
    return list(full.items())


def _bring_home(
    shop: SyntheticShop,
    person: int,
    day: int,
    purchase: Event,
    basket: Sequence[Line],
    homes: _Households,
    rng: Generator,
) -> None:
    """Remembers what is owned, when it is used up, and what will be sent back."""
    for line, (number, pieces) in zip(purchase.items, basket, strict=True):
        homes.owned[person].add(number)
        lasts = CATEGORIES[int(shop.assortment.categories[number])].refill_days
        if lasts is not None:
            if person < shop.people.customers:
                due = day + max(1, round(lasts * pieces * float(rng.uniform(0.8, 1.25))))
                homes.refills[due].append((person, number))
        elif rng.random() < shop.config.refund_share:
            back = int(rng.integers(3, 15))
            when = purchase.timestamp + timedelta(days=back)
            homes.refunds[day + back].append(refund_of(purchase, line, when=when))


def _pieces(shop: SyntheticShop, number: int, rng: Generator) -> float:
    """1 + Poisson, with the category's mean."""
    mean = CATEGORIES[int(shop.assortment.categories[number])].pieces
    return float(1 + rng.poisson(mean - 1.0)) if mean > 1.0 else 1.0
