"""One visit to the synthetic shop as canonical events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from numpy.random import Generator

from recsys.events.schema import Event, EventContext, EventItem, EventKind
from recsys.synthetic.people import COUNTRIES, DEVICES
from recsys.synthetic.shop import SyntheticShop

LONGEST_PAUSE: float = 60.0
"""Seconds; the pauses between events are exponential with a mean of 18 s."""

Line = tuple[int, float]
"""An item number and a quantity."""


class Visit:
    """The events of one visit so far: it keeps the clock, the ids and the consent.

    `person` is a number in the shop's people. Until `log_in` an event names the visitor alone.
    """

    def __init__(
        self,
        shop: SyntheticShop,
        person: int,
        *,
        start: datetime,
        rng: Generator,
        session_id: str | None = None,
        recommendation_id: str | None = None,
    ) -> None:
        self.events: list[Event] = []
        self._shop = shop
        self._person = person
        self._rng = rng
        self._key = f"{int(rng.integers(2**63)):016x}"
        self._clock = start
        self._user_id: str | None = None
        self._visitor_id = shop.people.visitor_id(person)
        self._session_id = session_id or f"s-{self._key}"
        self._recommendation_id = recommendation_id
        self._consent = shop.people.consent(person)
        device = DEVICES[shop.people.devices[person]]
        self._context = EventContext(
            channel="app" if device == "mobile" and person % 3 == 0 else "web",
            device=device,
            country=COUNTRIES[shop.people.countries[person]],
        )

    def resume(self, *, logged_in: bool) -> None:
        """A visit that continues on a later page: no `identify` is sent again."""
        self._user_id = self._shop.people.user_id(self._person) if logged_in else None

    def log_in(self) -> None:
        """The visitor becomes the customer: an `identify` event with both ids."""
        self._user_id = self._shop.people.user_id(self._person)
        self._add("identify")

    def search(self, term: str, page: Sequence[int]) -> None:
        """A search term and the result page that was shown."""
        self._add("search", term=term)
        self.see_list(page, term=term)

    def see_list(self, page: Sequence[int], *, term: str | None = None) -> None:
        """A list that was shown, position 0 first."""
        if page:
            lines = [self._item(number, index=index) for index, number in enumerate(page)]
            self._add("view_item_list", lines, term=term)

    def select(self, number: int, index: int) -> None:
        """A click on a list's position."""
        self._add("select_item", [self._item(number, index=index)])

    def view(self, number: int) -> None:
        """A product page."""
        self._add("view_item", [self._item(number)])

    def wish(self, number: int) -> None:
        """Put aside for later."""
        self._add("add_to_wishlist", [self._item(number)])

    def cart(self, number: int, quantity: float) -> None:
        """Into the cart."""
        self._add("add_to_cart", [self._item(number, quantity=quantity)])

    def drop(self, number: int) -> None:
        """Out of the cart again."""
        self._add("remove_from_cart", [self._item(number)])

    def check_out(self, lines: Sequence[Line]) -> Event:
        """Checkout and purchase of the lines in one transaction; gives the purchase."""
        items = [self._item(number, quantity=quantity) for number, quantity in lines]
        self._add("begin_checkout", items)
        return self._add("purchase", items, transaction=f"o-{self._key}")

    def _item(self, number: int, *, quantity: float = 1.0, index: int | None = None) -> EventItem:
        item = self._shop.items[number]
        return EventItem(item.item_id, quantity=quantity, price=item.price, index=index)

    def _add(
        self,
        kind: EventKind,
        items: Sequence[EventItem] = (),
        *,
        term: str | None = None,
        transaction: str | None = None,
    ) -> Event:
        pause = min(1.0 + float(self._rng.exponential(18.0)), LONGEST_PAUSE)
        self._clock += timedelta(milliseconds=round(pause * 1000.0))
        event = Event(
            event_id=f"e-{self._key}-{len(self.events)}",
            event=kind,
            timestamp=self._clock,
            user_id=self._user_id,
            anonymous_id=self._visitor_id,
            session_id=self._session_id,
            items=list(items),
            search_term=term,
            recommendation_id=self._recommendation_id,
            transaction_id=transaction,
            currency=self._shop.config.currency if items else None,
            consent=self._consent,
            context=self._context,
        )
        self.events.append(event)
        return event


def refund_of(purchase: Event, line: EventItem, *, when: datetime) -> Event:
    """The event by which one line of a purchase is sent back."""
    return Event(
        event_id=f"{purchase.event_id}-r-{line.item_id}",
        event="refund",
        timestamp=when,
        user_id=purchase.user_id,
        anonymous_id=purchase.anonymous_id,
        items=[line],
        transaction_id=purchase.transaction_id,
        currency=purchase.currency,
        consent=purchase.consent,
        context=purchase.context,
    )
