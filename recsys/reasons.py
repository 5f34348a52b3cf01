"""Why this item: a model's contributions as reason codes, evidence and a sentence in English.

The codes are stable and meant for programs (a shop words them in its own language); `text` is
ready to be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from recsys.events import EVENT_KINDS, KIND_NUMBER
from recsys.list_order import ENGINE
from recsys.models import MODELS
from recsys.operations import CATALOG
from recsys.query import Contribution, Contributions, History, Query

MAX_REASONS: Final = 3
LEAST_SHARE: Final = 0.05
"""A reason that made less of the score than this is not worth a sentence."""

_SAID: Final[Mapping[str, tuple[str, str]]] = {
    "purchase": ("bought", "because you bought {title}"),
    "add_to_cart": ("in_cart", "because you put {title} into your cart"),
    "add_to_wishlist": ("on_wishlist", "because you saved {title}"),
    "rate": ("rated", "because you rated {title}"),
    "select_item": ("viewed", "because you looked at {title}"),
    "view_item": ("viewed", "because you looked at {title}"),
}
"""Kind of event, the most telling first → code and text."""
_SAID_AGAIN: Final[Mapping[str, tuple[str, str]]] = {
    "bought": ("bought_before", "you bought it before"),
    "in_cart": ("in_cart_before", "you put it into your cart before"),
    "on_wishlist": ("on_wishlist_before", "you saved it before"),
    "rated": ("rated_before", "you rated it before"),
    "viewed": ("viewed_before", "you looked at it before"),
}
_TELLING: Final = tuple(KIND_NUMBER[kind] for kind in _SAID)


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason. `item` is the row number of the history item or seed that speaks for it.

    `share` is the fraction of the model's score that it made.
    """

    code: str
    text: str
    share: float
    item: int | None = None
    trait: str | None = None


def reasons(
    why: Contributions, *, item: int, source: str, query: Query, title: Callable[[int], str]
) -> tuple[Reason, ...]:
    """The reasons for a recommended item, the weightiest first, at most MAX_REASONS.

    `title` gives the shop's own title of a row number. What came from a fallback without a
    contribution of its own is explained by its source.
    """
    told: dict[str, Reason] = {}
    for contribution in why:
        if contribution.share < LEAST_SHARE:
            continue
        reason = _reason(contribution, item, source, query, title)
        told.setdefault(reason.text, reason)
    if not told:
        return (Reason(source, source_words(source), 1.0),)
    return tuple(told.values())[:MAX_REASONS]


def source_words(source: str) -> str:
    """Where an item came from, in words."""
    if source == ENGINE:
        return "in the order that was sent"
    if source == CATALOG:
        return "from the catalogue"
    family = MODELS.get(source)
    return source.replace("_", " ") if family is None else family.words


def _reason(
    contribution: Contribution,
    item: int,
    source: str,
    query: Query,
    title: Callable[[int], str],
) -> Reason:
    share = round(contribution.share, 4)
    if contribution.kind == "history" and contribution.item is not None:
        code, text = _history_words(query.history, contribution.item)
        if contribution.item == item:
            code, text = _SAID_AGAIN[code]
        return Reason(code, text.format(title=title(contribution.item)), share, contribution.item)
    if contribution.kind == "seed" and contribution.item is not None:
        named = title(contribution.item)
        if source == "bought_together":
            return Reason("bought_with", f"often bought with {named}", share, contribution.item)
        return Reason("similar_to", f"similar to {named}", share, contribution.item)
    if contribution.kind == "trait":
        trait = contribution.trait or "profile"
        if trait == "country" and query.country:
            return Reason("trait", f"popular in {query.country}", share, trait=trait)
        return Reason(
            "trait", f"liked by customers with the same {_words(trait)}", share, trait=trait
        )
    return Reason(source, source_words(source), share)


def _history_words(history: History, item: int) -> tuple[str, str]:
    kinds = set(history.kinds[history.items == item].tolist())
    kind = next((kind for kind in _TELLING if kind in kinds), KIND_NUMBER["view_item"])
    return _SAID[EVENT_KINDS[kind]]


def _words(trait: str) -> str:
    return trait.partition("=")[0].replace("_", " ")
