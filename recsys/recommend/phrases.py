"""What reasons and sources are called, in English and Dutch, openly or subtly.

An open phrase may name the evidence (`{title}`, `{brand}`, `{days}` …); a subtle one never does, so
that it can be said where nothing may be named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from recsys.bundle.placements import Tone
from recsys.models.registry import MODELS

Language = Literal["en", "nl"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
TONES: Final[tuple[Tone, ...]] = get_args(Tone)


@dataclass(frozen=True, slots=True)
class Phrase:
    """One reason in one language."""

    open: str
    subtle: str

    def said(self, tone: Tone) -> str:
        """The words in that tone."""
        return self.open if tone == "open" else self.subtle


def _both(en: tuple[str, str], nl: tuple[str, str]) -> Mapping[Language, Phrase]:
    return {"en": Phrase(*en), "nl": Phrase(*nl)}


_TASTE: Final = ("matches your taste", "past bij je smaak")
_KNOWN: Final = ("a familiar choice", "een vertrouwde keuze")
_VISIT: Final = ("goes with this visit", "past bij dit bezoek")
_WITH: Final = ("goes well with it", "past er goed bij")
_LIKED: Final = ("well liked", "in trek")

PHRASES: Final[Mapping[str, Mapping[Language, Phrase]]] = {
    # The person's own history: {title} is the item that speaks.
    "bought": _both(
        ("because you bought {title}", _TASTE[0]), ("omdat je {title} hebt gekocht", _TASTE[1])
    ),
    "in_cart": _both(
        ("because you put {title} into your cart", _TASTE[0]),
        ("omdat je {title} in je winkelwagen hebt gelegd", _TASTE[1]),
    ),
    "on_wishlist": _both(
        ("because you saved {title}", _TASTE[0]), ("omdat je {title} hebt bewaard", _TASTE[1])
    ),
    "rated": _both(
        ("because you rated {title}", _TASTE[0]), ("omdat je {title} hebt beoordeeld", _TASTE[1])
    ),
    "viewed": _both(
        ("because you looked at {title}", _TASTE[0]), ("omdat je {title} hebt bekeken", _TASTE[1])
    ),
    "visit": _both(
        ("because you just looked at {title}", _VISIT[0]),
        ("omdat je net {title} hebt bekeken", _VISIT[1]),
    ),
    "account": _both(
        ("because your company chose {title}", "chosen for your company"),
        ("omdat je bedrijf {title} heeft gekozen", "gekozen voor je bedrijf"),
    ),
    # The item speaks for itself.
    "bought_before": _both(
        ("you bought it before", _KNOWN[0]), ("je hebt dit eerder gekocht", _KNOWN[1])
    ),
    "in_cart_before": _both(
        ("you put it into your cart before", _KNOWN[0]),
        ("je hebt dit eerder in je winkelwagen gelegd", _KNOWN[1]),
    ),
    "on_wishlist_before": _both(
        ("you saved it before", _KNOWN[0]), ("je hebt dit eerder bewaard", _KNOWN[1])
    ),
    "rated_before": _both(
        ("you rated it before", _KNOWN[0]), ("je hebt dit eerder beoordeeld", _KNOWN[1])
    ),
    "liked_before": _both(("you like it", _KNOWN[0]), ("je vindt dit leuk", _KNOWN[1])),
    "viewed_before": _both(
        ("you looked at it before", _KNOWN[0]), ("je hebt dit eerder bekeken", _KNOWN[1])
    ),
    "account_before": _both(
        ("your company chose it before", "chosen for your company"),
        ("je bedrijf koos dit eerder", "gekozen voor je bedrijf"),
    ),
    "due": _both(
        ("you buy it about every {days} days", "perhaps time for it again"),
        ("je koopt dit ongeveer elke {days} dagen", "misschien weer tijd hiervoor"),
    ),
    # The page or the cart.
    "bought_with": _both(
        ("often bought with {title}", _WITH[0]), ("vaak samen gekocht met {title}", _WITH[1])
    ),
    "goes_with": _both(("goes with {title}", _WITH[0]), ("past bij {title}", _WITH[1])),
    "similar_to": _both(
        ("similar to {title}", "something like it"), ("lijkt op {title}", "iets wat hierop lijkt")
    ),
    # What the person or the shop has said.
    "preferred_brand": _both(
        ("you follow {brand}", "among your preferences"),
        ("je volgt {brand}", "volgens je voorkeuren"),
    ),
    "preferred_category": _both(
        ("you are interested in {category}", "among your preferences"),
        ("je hebt interesse in {category}", "volgens je voorkeuren"),
    ),
    "liked": _both(
        ("because you like {title}", _TASTE[0]), ("omdat je {title} leuk vindt", _TASTE[1])
    ),
    "chosen_by_shop": _both(
        ("chosen by the shop", "chosen by the shop"),
        ("gekozen door de winkel", "gekozen door de winkel"),
    ),
    # What is like the person, or anybody.
    "segment": _both(("popular in {country}", _LIKED[0]), ("populair in {country}", _LIKED[1])),
    "trait": _both(
        ("liked by customers with the same {trait}", _LIKED[0]),
        ("in trek bij klanten met dezelfde {trait}", _LIKED[1]),
    ),
    "taste": _both(("fits your taste", _TASTE[0]), ("past bij je smaak", _TASTE[1])),
    "goes_with_visit": _both((_VISIT[0], _VISIT[0]), (_VISIT[1], _VISIT[1])),
    "same_search": _both(
        ("chosen by who searched for this", _LIKED[0]),
        ("gekozen door wie hiernaar zocht", _LIKED[1]),
    ),
    "popular": _both(("popular with everybody", _LIKED[0]), ("populair bij iedereen", _LIKED[1])),
    "popular_here": _both(
        ("popular in your country", _LIKED[0]), ("populair in jouw land", _LIKED[1])
    ),
    "popular_in_categories": _both(
        ("popular in the categories that you look at", _TASTE[0]),
        ("populair in de categorieën die je bekijkt", _TASTE[1]),
    ),
    "popular_in_segment": _both(
        ("popular with customers like you", _LIKED[0]),
        ("populair bij klanten zoals jij", _LIKED[1]),
    ),
    "trending": _both(("on the rise", "on the rise"), ("in opkomst", "in opkomst")),
    # What the item is.
    "new": _both(("new", "new"), ("nieuw", "nieuw")),
    "on_sale": _both(("on sale", "on sale"), ("in de aanbieding", "in de aanbieding")),
    "listed": _both(
        ("in the order that was sent", "in the order that was sent"),
        ("in de volgorde die is gestuurd", "in de volgorde die is gestuurd"),
    ),
    "in_catalog": _both(
        ("from the catalogue", "from the catalogue"), ("uit het assortiment", "uit het assortiment")
    ),
}
"""Reason code → language → words."""

SOURCE_CODES: Final[Mapping[str, str]] = {
    **{name: family.reason for name, family in MODELS.items()},
    "exploration": "new",
    "engine": "listed",
    "catalog": "in_catalog",
    "pinned": "chosen_by_shop",
}
"""Source → the code of the reason that is shown where the source names no evidence; of any other
source, `taste`."""

SOURCE_LABELS: Final[Mapping[str, Mapping[str, str]]] = {
    **{name: family.labels for name, family in MODELS.items()},
    "exploration": {"en": "new in the shop", "nl": "nieuw in de winkel"},
    "engine": {"en": "in the order that was sent", "nl": "in de volgorde die is gestuurd"},
    "catalog": {"en": "from the catalogue", "nl": "uit het assortiment"},
    "pinned": {"en": "chosen by the shop", "nl": "gekozen door de winkel"},
}
"""Source → language → the phrase that names the source."""

TRAITS: Final[Mapping[str, Mapping[Language, str]]] = {
    "country": {"en": "country", "nl": "landinstelling"},
    "customer_group": {"en": "customer group", "nl": "klantgroep"},
    "account_id": {"en": "company", "nl": "werkgever"},
    "segment": {"en": "segment", "nl": "doelgroep"},
    "interests": {"en": "interests", "nl": "interesses"},
    "profile": {"en": "profile", "nl": "achtergrond"},
}
"""What a trait is called; one that the shop made up keeps its own name."""
