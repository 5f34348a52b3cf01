"""Reasons: codes, words and evidence from a model's contributions."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from recsys.events import KIND_NUMBER
from recsys.models import MODELS
from recsys.profiles import Profile
from recsys.query import Context, Contribution, History, Query
from recsys.reasons import MAX_REASONS, Reason, reasons, source_words

TITLES = ["Camera", "Lens", "Bag", "Tripod", "Strap"]


def query(*done: tuple[int, str], country: str | None = None) -> Query:
    items = np.array([item for item, _ in done], np.int32)
    kinds = np.array([KIND_NUMBER[kind] for _, kind in done], np.int8)
    times = np.arange(len(done), dtype=np.float64)
    history = History(items, kinds, times, np.ones(len(done), np.float32))
    return Query(
        now=datetime(2026, 11, 2, tzinfo=UTC), history=history, context=Context(country=country)
    )


def told(
    *why: Contribution, source: str = "random_walk", asked: Query | None = None, item: int = 4
) -> tuple[Reason, ...]:
    return reasons(why, item=item, source=source, query=asked or query(), title=TITLES.__getitem__)


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [
        ("purchase", "bought", "because you bought Camera"),
        ("add_to_cart", "in_cart", "because you put Camera into your cart"),
        ("add_to_wishlist", "on_wishlist", "because you saved Camera"),
        ("view_item", "viewed", "because you looked at Camera"),
        ("custom", "viewed", "because you looked at Camera"),
    ],
)
def test_a_history_item_is_named_with_what_was_done_with_it(
    kind: str, code: str, text: str
) -> None:
    (reason,) = told(Contribution("history", 1.0, item=0), asked=query((0, kind)))
    assert reason == Reason(code, text, 1.0, item=0)


def test_the_most_telling_thing_that_was_done_is_named() -> None:
    asked = query((0, "view_item"), (0, "purchase"), (0, "view_item"))
    assert told(Contribution("history", 1.0, item=0), asked=asked)[0].code == "bought"


def test_an_item_that_speaks_for_itself_was_bought_before() -> None:
    (reason,) = told(Contribution("history", 1.0, item=0), asked=query((0, "purchase")), item=0)
    assert (reason.code, reason.text) == ("bought_before", "you bought it before")


def test_the_page_speaks_as_company_or_as_likeness() -> None:
    seed = Contribution("seed", 1.0, item=1)
    assert told(seed, source="bought_together")[0].text == "often bought with Lens"
    assert told(seed, source="content")[0].text == "similar to Lens"


def test_a_country_is_named_and_another_trait_too() -> None:
    country = Contribution("trait", 1.0, trait="country")
    assert told(country, asked=query(country="NL"))[0].text == "popular in NL"
    declared = Query(now=datetime(2026, 11, 2, tzinfo=UTC), profile=Profile(country="GB"))
    assert told(country, asked=declared)[0].text == "popular in GB"
    group = Contribution("trait", 1.0, trait="customer_group")
    assert told(group)[0].text == "liked by customers with the same customer group"


def test_the_weightiest_come_first_and_trifles_and_repeats_are_left_out() -> None:
    why = [Contribution("seed", share, item=n) for n, share in enumerate((0.4, 0.3, 0.2, 0.06))]
    given = told(*why, Contribution("seed", 0.04, item=4))
    assert [reason.item for reason in given] == [0, 1, 2]
    assert len(given) == MAX_REASONS
    twice = Contribution("seed", 0.5, item=0)
    assert len(told(twice, twice)) == 1


def test_without_contributions_the_source_itself_is_the_reason() -> None:
    assert told(source="popularity") == (Reason("popularity", "popular with everybody", 1.0),)


def test_every_source_has_words() -> None:
    for source in (*MODELS, "engine", "catalog"):
        assert source_words(source)
        assert "_" not in source_words(source)
