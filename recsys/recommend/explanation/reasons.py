"""Why an item is recommended: reason codes, the evidence behind them, and their phrases.

Codes are stable and meant for programs; `text` can be shown to customers. A reason is verifiable:
its item is in the person's own history or on the page, its numbers were counted. It never names
another person, an item in a sensitive category or a number of customers below a minimum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Tone
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.items import Item
from recsys.events.schema import EVENT_KINDS, KIND_NUMBER
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.models.baskets.bought_together import BoughtTogetherModel
from recsys.models.protocol import Contribution
from recsys.query.history import History
from recsys.query.preferences import INTEREST
from recsys.query.query import Query
from recsys.recommend.answers import Recommendation
from recsys.recommend.explanation.language_files import DEFAULT_LANGUAGE, PHRASES, Language
from recsys.recommend.explanation.phrases import source_code, trait_name

MAX_REASONS: Final = 3
LEAST_SHARE: Final = 0.05
"""A contribution with a smaller share of the score is not shown."""
NEW_FOR: Final = timedelta(days=30)
"""How long after its first day in the shop an item is called new."""

Fact = str | int | float

_EVENT_CODES: Final[Mapping[str, str]] = {
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
"""Kind of event → reason code, the strongest kind first; an impression is no reason."""
_STRONGEST_FIRST: Final = tuple(KIND_NUMBER[kind] for kind in _EVENT_CODES)


@dataclass(frozen=True, slots=True)
class ReasonStyle:
    """How a shop wants its reasons phrased.

    `sensitive` are category paths in lower case: nothing in them or below them is ever named.
    `min_customers` is the smallest number of distinct customers that is ever shown.
    """

    language: Language = DEFAULT_LANGUAGE
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
    """One reason. `item` is the number of the history item or seed that is its evidence.

    `share` is its fraction of the model's score, 0 for reasons that are no part of the score;
    `facts` the numbers and names in the text (`customers`, `lift`, `days`, `country`, `brand`).
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
    style: ReasonStyle,
    promoted: bool = False,
) -> tuple[Reason, ...]:
    """The reasons for a recommended item, the largest share first, at most MAX_REASONS.

    An item without contributions, as of a fallback model, is explained by its source, an item in
    a sensitive category without evidence. `promoted`: a boost rule of the shop matches the item.
    """
    builder = _ReasonBuilder(recommended, query, bundle, live_catalog, style, promoted)
    distinct: dict[str, Reason] = {}
    for reason in builder.all():
        distinct.setdefault(reason.text, reason)
    return tuple(distinct.values())[:MAX_REASONS]


@dataclass(frozen=True, slots=True)
class _ReasonBuilder:
    """Collects the reasons of one recommended item."""

    recommended: Recommendation
    query: Query
    bundle: Bundle
    live_catalog: LiveCatalog
    style: ReasonStyle
    promoted: bool

    def all(self) -> list[Reason]:
        """Every reason that holds, at least one."""
        item = self.live_catalog.items[self.recommended.number]
        if not self.style.may_name(item):
            return [replace(self._of_source(), trait=None)]
        evidence = [
            reason
            for contribution in self.recommended.why
            if contribution.share >= LEAST_SHARE
            and (reason := self._of_contribution(contribution)) is not None
        ]
        return [*(evidence or [self._of_source()]), *self._of_preferences(item), *self._of_item()]

    def _of_contribution(self, contribution: Contribution) -> Reason | None:
        """None where the contribution is not part of what is known of the person."""
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
        code = _event_code(self.query.history, number)
        if code is None:
            account = self.query.account
            if account is None or number not in account.items:
                return None
            code = "account"
        elif itself and code == "bought" and self.recommended.source == "refill":
            days = _days_between(self.query.history, number)
            if days is not None:
                return self._reason("due", share, item=number, facts={"days": days})
        if itself:
            return self._reason(f"{code}_before", share, item=number)
        if code == "viewed" and number in self.query.session.items:
            code = "visit"
        return self._reason(code, share, item=number)

    def _is_known(self, number: int) -> bool:
        """Whether the item is on the page, or in the history that a placement takes seeds from."""
        return number in self.query.seeds or number in self.query.history.items

    def _of_seed(self, number: int, share: float) -> Reason:
        if self.recommended.source != "bought_together":
            return self._reason("similar_to", share, item=number)
        model = self.bundle.models.get("bought_together")
        if isinstance(model, BoughtTogetherModel):
            evidence = model.evidence(number, self.recommended.number)
            if evidence is not None and evidence.customers >= self.style.min_customers:
                facts = {"customers": evidence.customers, "lift": round(evidence.lift, 2)}
                return self._reason("bought_with", share, item=number, facts=facts)
        return self._reason("goes_with", share, item=number)

    def _of_trait(self, trait: str, share: float) -> Reason:
        name = trait.partition("=")[0]
        if name.startswith(INTEREST):
            return self._reason("trait", share, trait="interests")
        if name == "country" and self.query.country:
            facts = {"country": self.query.country}
            return self._reason("segment", share, trait=name, facts=facts)
        return self._reason("trait", share, trait=name)

    def _of_source(self) -> Reason:
        return self._reason(source_code(self.recommended.source), 1.0)

    def _of_preferences(self, item: Item) -> list[Reason]:
        interests = self.query.preferences.interests
        if interests is None:
            return []
        preferred = []
        if item.brand is not None and item.brand in interests.brands:
            preferred.append(self._reason("preferred_brand", 0.0, facts={"brand": item.brand}))
        for path in interests.categories:
            if path == item.category[: len(path)]:
                facts = {"category": path[-1]}
                preferred.append(self._reason("preferred_category", 0.0, facts=facts))
        return preferred

    def _of_item(self) -> list[Reason]:
        number = self.recommended.number
        born = self.live_catalog.born[number]
        holds = {
            "chosen_by_shop": self.promoted,
            "on_sale": self.live_catalog.on_sale[number],
            "new": 0 <= self.query.now.timestamp() - born < NEW_FOR.total_seconds(),
        }
        return [self._reason(code, 0.0) for code, true in holds.items() if true]

    def _reason(
        self,
        code: str,
        share: float,
        *,
        item: int | None = None,
        trait: str | None = None,
        facts: Mapping[str, Fact] | None = None,
    ) -> Reason:
        style, facts = self.style, facts or {}
        phrase = PHRASES[style.language].reasons[code]
        evidence = None if item is None else self.live_catalog.items[item]
        if evidence is not None and not style.may_name(evidence):
            return Reason(code, phrase.subtle, share)
        title = "" if evidence is None else evidence.title or evidence.item_id
        kind = "" if trait is None else trait_name(trait, style.language)
        text = phrase.in_tone(style.tone).format(**{"title": title, "trait": kind, **facts})
        return Reason(code, text, share, item, trait, facts)


def _event_code(history: History, item: int) -> str | None:
    """The code of the strongest event with an item; None without one."""
    kinds = set(history.kinds[history.items == item].tolist())
    return next(
        (_EVENT_CODES[EVENT_KINDS[kind]] for kind in _STRONGEST_FIRST if kind in kinds), None
    )


def _days_between(history: History, item: int) -> int | None:
    """The mean number of days between purchases of an item; None for fewer than three days on which
    it was bought, from which no interval can be claimed."""
    bought = history.purchases()
    days = np.unique(bought.times[bought.items == item] // SECONDS_PER_DAY)
    if len(days) < 3:
        return None
    return round(float(days[-1] - days[0]) / (len(days) - 1))
