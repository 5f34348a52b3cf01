"""Why this item: reason codes, the evidence behind them, and words in English or Dutch.

The codes are stable and meant for programs; `text` is ready to be shown. A reason is true of who
asks: its history item lies in their history, its numbers were counted. It names nobody else,
nothing in a sensitive category, and no number of customers below a minimum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Tone
from recsys.catalog.items import Item
from recsys.catalog.live import LiveCatalog
from recsys.events.schema import EVENT_KINDS, KIND_NUMBER
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.models.baskets.bought_together import BoughtTogetherModel
from recsys.models.protocol import Contribution
from recsys.query.history import History
from recsys.query.preferences import INTEREST
from recsys.query.query import Query
from recsys.recommend.operations import Recommendation
from recsys.recommend.phrases import PHRASES, SOURCE_CODES, SOURCE_LABELS, TRAITS, Language

MAX_REASONS: Final = 3
LEAST_SHARE: Final = 0.05
"""A reason that made less of the score than this is not worth a sentence."""
NEW_FOR: Final = timedelta(days=30)
"""How long after it came into the shop an item is called new."""

Fact = str | int | float

_SAID: Final[Mapping[str, str]] = {
    "purchase": "bought",
    "add_to_cart": "in_cart",
    "view_cart": "in_cart",
    "begin_checkout": "in_cart",
    "add_to_wishlist": "on_wishlist",
    "feedback": "liked",
    "rate": "rated",
    "select_item": "viewed",
    "view_item": "viewed",
    "custom": "viewed",
    "remove_from_cart": "viewed",
}
"""Kind of event, the most telling first → code; a list that it merely stood in tells nothing."""
_TELLING: Final = tuple(KIND_NUMBER[kind] for kind in _SAID)


@dataclass(frozen=True, slots=True)
class ReasonStyle:
    """How a shop speaks of its reasons.

    `sensitive` are category paths in lower case: nothing in them or below them is ever named.
    `min_customers` is the least number of distinct customers that is counted aloud.
    """

    language: Language = "en"
    tone: Tone = "open"
    sensitive: frozenset[tuple[str, ...]] = frozenset()
    min_customers: int = 5

    def may_name(self, item: Item) -> bool:
        """Whether the item and its category may be named."""
        if not self.sensitive:
            return True
        path = tuple(part.lower() for part in item.category)
        return not any(path[:depth] in self.sensitive for depth in range(1, len(path) + 1))


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason. `item` is the row number of the history item or seed that speaks for it.

    `share` is the fraction of the model's score that it made, 0 for what is true beside it; `facts`
    the numbers and names behind the words (`customers`, `lift`, `days`, `country`, `brand`).
    """

    code: str
    text: str
    share: float
    item: int | None = None
    trait: str | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)


def sensitive_paths(paths: Sequence[str]) -> frozenset[tuple[str, ...]]:
    """Category paths, written `Health > Intimate`, as `ReasonStyle.sensitive` wants them."""
    return frozenset(tuple(part.strip().lower() for part in path.split(">")) for path in paths)


def reasons(
    recommended: Recommendation,
    *,
    query: Query,
    bundle: Bundle,
    live_catalog: LiveCatalog,
    voice: ReasonStyle,
    promoted: bool = False,
) -> tuple[Reason, ...]:
    """The reasons for a recommended item, the weightiest first, at most MAX_REASONS.

    What came from a fallback without a contribution of its own is explained by its source; what is
    itself in a sensitive category is explained without evidence. `promoted` says that a rule of the
    shop made the item weigh more.
    """
    teller = _ReasonBuilder(recommended, query, bundle, live_catalog, voice, promoted)
    told: dict[str, Reason] = {}
    for reason in teller.all():
        told.setdefault(reason.text, reason)
    return tuple(told.values())[:MAX_REASONS]


def source_words(source: str, language: Language = "en") -> str:
    """The phrase that names the source of an item; the source itself where it has no label."""
    labels = SOURCE_LABELS.get(source, {})
    return labels.get(language) or labels.get("en") or source.replace("_", " ")


@dataclass(frozen=True, slots=True)
class _ReasonBuilder:
    recommended: Recommendation
    query: Query
    bundle: Bundle
    live_catalog: LiveCatalog
    voice: ReasonStyle
    promoted: bool

    def all(self) -> list[Reason]:
        """Every reason that holds; never none."""
        item = self.live_catalog.items[self.recommended.number]
        if not self.voice.may_name(item):
            return [replace(self._of_source(), trait=None)]
        found = [
            reason
            for contribution in self.recommended.why
            if contribution.share >= LEAST_SHARE
            and (reason := self._of_contribution(contribution)) is not None
        ]
        return [*(found or [self._of_source()]), *self._of_preferences(item), *self._of_item()]

    def _of_contribution(self, contribution: Contribution) -> Reason | None:
        """None where what contributed is not known of whoever asks: then nothing is claimed."""
        share = round(contribution.share, 4)
        number = contribution.item
        if contribution.kind == "history":
            return None if number is None else self._of_history(number, share)
        if contribution.kind == "seed":
            if number is None or not self._is_known(number):
                return None
            return self._of_seed(number, share)
        if contribution.kind == "trait":
            return self._of_trait(contribution.trait or "profile", share)
        return replace(self._of_source(), share=share)

    def _of_history(self, number: int, share: float) -> Reason | None:
        itself = number == self.recommended.number
        code = _what_was_done(self.query.history, number)
        if code is None:
            account = self.query.account
            if account is None or number not in account.items:
                return None
            code = "account"
        elif itself and code == "bought" and self.recommended.source == "refill":
            days = _days_between(self.query.history, number)
            if days is not None:
                return self._say("due", share, item=number, facts={"days": days})
        if itself:
            return self._say(f"{code}_before", share, item=number)
        if code == "viewed" and number in self.query.session.items:
            code = "visit"
        return self._say(code, share, item=number)

    def _is_known(self, number: int) -> bool:
        """Whether it stands on the page, or in the history that seeds come from without a page."""
        return number in self.query.seeds or number in self.query.history.items

    def _of_seed(self, number: int, share: float) -> Reason:
        if self.recommended.source != "bought_together":
            return self._say("similar_to", share, item=number)
        model = self.bundle.models.get("bought_together")
        if isinstance(model, BoughtTogetherModel):
            evidence = model.evidence(number, self.recommended.number)
            if evidence is not None and evidence.customers >= self.voice.min_customers:
                facts = {"customers": evidence.customers, "lift": round(evidence.lift, 2)}
                return self._say("bought_with", share, item=number, facts=facts)
        return self._say("goes_with", share, item=number)

    def _of_trait(self, trait: str, share: float) -> Reason:
        name = trait.partition("=")[0]
        if name.startswith(INTEREST):
            return self._say("trait", share, trait="interests")
        if name == "country" and self.query.country:
            facts = {"country": self.query.country}
            return self._say("segment", share, trait=name, facts=facts)
        return self._say("trait", share, trait=name)

    def _of_source(self) -> Reason:
        code = SOURCE_CODES.get(self.recommended.source, "taste")
        return self._say(code, 1.0)

    def _of_preferences(self, item: Item) -> list[Reason]:
        interests = self.query.preferences.interests
        if interests is None:
            return []
        found = []
        if item.brand is not None and item.brand in interests.brands:
            found.append(self._say("preferred_brand", 0.0, facts={"brand": item.brand}))
        for path in interests.categories:
            if path == item.category[: len(path)]:
                facts = {"category": path[-1]}
                found.append(self._say("preferred_category", 0.0, facts=facts))
        return found

    def _of_item(self) -> list[Reason]:
        number = self.recommended.number
        born = self.live_catalog.born[number]
        holds = {
            "chosen_by_shop": self.promoted,
            "on_sale": self.live_catalog.on_sale[number],
            "new": 0 <= self.query.now.timestamp() - born < NEW_FOR.total_seconds(),
        }
        return [self._say(code, 0.0) for code, true in holds.items() if true]

    def _say(
        self,
        code: str,
        share: float,
        *,
        item: int | None = None,
        trait: str | None = None,
        facts: Mapping[str, Fact] | None = None,
    ) -> Reason:
        voice, facts = self.voice, facts or {}
        phrase = PHRASES[code][voice.language]
        named = None if item is None else self.live_catalog.items[item]
        if named is not None and not voice.may_name(named):
            return Reason(code, phrase.subtle, share)
        title = "" if named is None else named.title or named.item_id
        kind = "" if trait is None else TRAITS.get(trait, {}).get(voice.language, _plain(trait))
        text = phrase.said(voice.tone).format(**{"title": title, "trait": kind, **facts})
        return Reason(code, text, share, item, trait, facts)


def _what_was_done(history: History, item: int) -> str | None:
    """The most telling thing that was done with an item, as a code; None where nothing was."""
    kinds = set(history.kinds[history.items == item].tolist())
    return next((_SAID[EVENT_KINDS[kind]] for kind in _TELLING if kind in kinds), None)


def _days_between(history: History, item: int) -> int | None:
    """The mean number of days between purchases of an item, of three days or more on which it was
    bought: of two, nobody would say that it is a rhythm."""
    bought = history.purchases()
    days = np.unique(bought.times[bought.items == item] // SECONDS_PER_DAY)
    if len(days) < 3:
        return None
    return round(float(days[-1] - days[0]) / (len(days) - 1))


def _plain(trait: str) -> str:
    return trait.replace("_", " ")
