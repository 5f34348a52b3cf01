"""How the synthetic shop's people react to a list that they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.events.schema import Event
from recsys.synthetic.shop import SyntheticShop
from recsys.synthetic.visits import Line, Visit

POSITION_DECAY: Final = 0.7
CLICK_OFFSET: Final = -2.8
CLICK_SLOPE: Final = 0.9
CART_AFTER_CLICK: Final = 0.35
PURCHASE_AFTER_CART: Final = 0.6


@dataclass(frozen=True, slots=True)
class Impression:
    """A list that was shown to a person, position 0 first.

    A customer id (`c-0042`) reacts logged in, a visitor id (`v-00042`) anonymously. The events
    that follow carry the ids given here.
    """

    person: str
    item_ids: Sequence[str]
    when: datetime
    recommendation_id: str | None = None
    session_id: str | None = None


def react(shop: SyntheticShop, impression: Impression, *, rng: Generator) -> list[Event]:
    """What the person does with the list: the part seen, clicks, carts, perhaps one purchase.

    Position-based model (Craswell et al. 2008): P(click) = P(examined | position) ·
    P(attracted | person, item). Examination does not depend on the person. An empty list gives
    no events; InvalidInput for a person or item that the shop does not have.
    """
    numbers = [shop.item_number(item) for item in impression.item_ids]
    if not numbers:
        return []
    person = shop.person_number(impression.person)
    visit = Visit(
        shop,
        person,
        start=impression.when,
        rng=rng,
        session_id=impression.session_id,
        recommendation_id=impression.recommendation_id,
    )
    visit.resume(logged_in=impression.person.startswith("c-"))
    examined = rng.random(len(numbers)) < examination(np.arange(len(numbers)))
    attracted = rng.random(len(numbers)) < attraction(
        shop, impression.person, impression.when, np.array(numbers)
    )
    # What lies below the last item examined was never on the screen.
    visit.see_list(numbers[: int(np.flatnonzero(examined)[-1]) + 1])
    basket: list[Line] = []
    for position in np.flatnonzero(examined & attracted).tolist():
        visit.select(numbers[position], position)
        visit.view(numbers[position])
        if rng.random() < CART_AFTER_CLICK:
            visit.cart(numbers[position], 1.0)
            if rng.random() < PURCHASE_AFTER_CART:
                basket.append((numbers[position], 1.0))
    if basket:
        visit.check_out(list(dict(basket).items()))
    return visit.events


def examination(positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """P(examined | position) = (1 + position)^−0.7: 1 at the top."""
    return np.asarray((1.0 + positions) ** -POSITION_DECAY)


def attraction(
    shop: SyntheticShop, person: str, when: datetime, items: NDArray[np.int64]
) -> NDArray[np.float64]:
    """P(attracted) = sigmoid(−2.8 + 0.9 · log(P(item | person) · items on sale)).

    So an item that is as likely as any other attracts 6 %, one that is twenty times as likely 47 %;
    an item that is not on sale attracts nobody.
    """
    chances = shop.purchase_probabilities(person, when)
    lift = chances[items] * np.count_nonzero(chances)
    with np.errstate(divide="ignore"):
        logits = CLICK_OFFSET + CLICK_SLOPE * np.log(lift)
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))
