"""The rule language of requests and placements: filter, exclude, boost, pin, quota, diversity.

A condition is written in the shape of the item that it asks for:

    {"category": "Home > Kitchen", "price": {"max": 20}, "attributes": {"organic": true}}

A plain value means equality; a category means the path and everything below it; a list attribute
fulfils a test where one of its entries does. An item without the attribute fails every test but
`exists: false` and `not_in`. All parts of a condition must hold, one of `any`, and none of `none`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from pydantic import PlainSerializer, PlainValidator

from recsys.catalog.items import ItemKind
from recsys.events.schema import Id, Text, Timestamp, Word

Amount = Annotated[float, Meta(ge=-1e12, le=1e12)]
Value = Text | Amount | bool
Path = Annotated[str, Meta(min_length=1, max_length=700, pattern=r"^[^\x00]*$")]
"""A category path from the widest level on, `Home > Kitchen`."""
Names = Annotated[list[Id], Meta(min_length=1, max_length=1000)]
Paths = Annotated[list[Path], Meta(min_length=1, max_length=100)]
Values = Annotated[list[Value], Meta(min_length=1, max_length=100)]
Position = Annotated[int, Meta(ge=0, le=99)]
Count = Annotated[int, Meta(ge=1, le=100)]

ATTRIBUTE: Final = "attributes."
"""What a free attribute's name begins with where it is named in one word: `attributes.colour`."""
PER: Final = r"^(category|brand|kind|attributes\.[^\x00-\x1f\x7f]+)$(?!\n)"


class _Part(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
):
    """Everything of the language is an immutable value that refuses what it does not know."""


class NameTest(_Part, frozen=True):
    """Tests of an id, brand or kind."""

    in_: Names | None = msgspec.field(default=None, name="in")
    not_in: Names | None = None
    exists: bool | None = None

    def __post_init__(self) -> None:
        _refuse_empty(self)


class PathTest(_Part, frozen=True):
    """Tests of a category path: each names the path and all that lies below it."""

    in_: Paths | None = msgspec.field(default=None, name="in")
    not_in: Paths | None = None
    exists: bool | None = None

    def __post_init__(self) -> None:
        _refuse_empty(self)


class AmountTest(_Part, frozen=True):
    """Tests of a price or stock; both bounds belong to the range."""

    min: Amount | None = None
    max: Amount | None = None
    exists: bool | None = None

    def __post_init__(self) -> None:
        _refuse_empty(self)
        _refuse_crossed("min", self.min, "max", self.max)


class ValueTest(_Part, frozen=True):
    """Tests of a free attribute: of words, numbers, yes and no, or a list of words."""

    in_: Values | None = msgspec.field(default=None, name="in")
    not_in: Values | None = None
    min: Amount | None = None
    max: Amount | None = None
    exists: bool | None = None

    def __post_init__(self) -> None:
        _refuse_empty(self)
        _refuse_crossed("min", self.min, "max", self.max)


class Condition(_Part, frozen=True):
    """What an item must be; all parts that are given must hold."""

    item_id: Id | NameTest | None = None
    kind: ItemKind | NameTest | None = None
    category: Path | PathTest | None = None
    brand: Word | NameTest | None = None
    price: Amount | AmountTest | None = None
    stock: Amount | AmountTest | None = None
    attributes: Annotated[dict[Word, Value | ValueTest], Meta(max_length=20)] = {}


Conditions = Annotated[list[Condition], Meta(min_length=1, max_length=20)]


class Where(Condition, frozen=True):
    """A condition with alternatives: one of `any` must hold too, and none of `none`."""

    any: Conditions | None = None
    none: Conditions | None = None

    @property
    def asks_for_kind(self) -> bool:
        """Whether it says which kinds of content it means."""
        parts = (self, *(self.any or ()), *(self.none or ()))
        return any(part.kind is not None for part in parts)


class Boost(_Part, frozen=True):
    """Multiplies the scores of what fulfils `where`; a factor below 1 buries."""

    where: Where
    factor: Annotated[float, Meta(gt=0, le=1000)]


class Pin(_Part, frozen=True):
    """Puts an item at a position (0 first), provided that it may be shown."""

    item_id: Id
    position: Position


class Quota(_Part, frozen=True):
    """How many of what fulfils `where` a list holds, at least and at most."""

    where: Where
    at_least: Count | None = None
    at_most: Annotated[int, Meta(ge=0, le=100)] | None = None

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a quota says at_least, at_most or both")
        _refuse_crossed("at_least", self.at_least, "at_most", self.at_most)


class Diversity(_Part, frozen=True):
    """At most so many items with one value of an attribute in a list.

    `per` is `category`, `brand`, `kind` or `attributes.<name>`; `depth` says how many levels of a
    category path count. Items without the attribute are not limited.
    """

    per: Annotated[str, Meta(max_length=80, pattern=PER)]
    at_most: Count
    depth: Annotated[int, Meta(ge=1, le=10)] | None = None

    def __post_init__(self) -> None:
        if self.depth is not None and self.per != "category":
            raise ValueError("depth counts levels of a category; leave it out for anything else")


Boosts = Annotated[list[Boost], Meta(max_length=20)]
Excluded = Annotated[list[Id], Meta(max_length=1000)] | Where


class Rules(_Part, frozen=True):
    """What one list must and should hold. `filter`, `exclude`, pins and the minima of quotas hold
    as long as there are items that may be shown; diversity and then the maxima of quotas give way
    where a minimum needs it or a list would get short."""

    filter: Where | None = None
    exclude: Excluded = []
    boost: Boosts = []
    pin: Annotated[list[Pin], Meta(max_length=20)] = []
    quota: Annotated[list[Quota], Meta(max_length=10)] = []
    diversity: Annotated[list[Diversity], Meta(max_length=10)] = []

    def __post_init__(self) -> None:
        if isinstance(self.exclude, Where) and self.exclude == Where():
            raise ValueError("an empty condition would exclude everything")
        for what, given in (
            ("item", [pin.item_id for pin in self.pin]),
            ("position", [pin.position for pin in self.pin]),
        ):
            if len(set(given)) < len(given):
                raise ValueError(f"two pins name the same {what}")

    @property
    def say_nothing(self) -> bool:
        """Whether there is no rule in it."""
        return not (
            self.filter is not None
            or self.exclude
            or self.boost
            or self.pin
            or self.quota
            or self.diversity
        )


class Rule(Rules, frozen=True):
    """Rules of a placement under a name, in force from one moment until another, and `for` the
    people of one of these segments alone (`recsys.query.segments`)."""

    name: Word | None = None
    for_: Annotated[list[Word], Meta(min_length=1, max_length=100)] | None = msgspec.field(
        default=None, name="for"
    )
    from_: Timestamp | None = msgspec.field(default=None, name="from")
    until: Timestamp | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.from_ is not None and self.until is not None and self.from_ >= self.until:
            raise ValueError("until must be later than from")

    def in_force(self, now: datetime, segments: Collection[str] = ()) -> bool:
        """Whether `now` lies within [from, until), and one of the segments is meant."""
        return (
            (self.from_ is None or self.from_ <= now)
            and (self.until is None or now < self.until)
            and (self.for_ is None or any(segment in segments for segment in self.for_))
        )


def parse_rules(raw: Sequence[Any]) -> tuple[Rule, ...]:
    """The rules of a configuration file; ValueError names the place and what is wrong."""
    try:
        return msgspec.convert(raw, tuple[Rule, ...])
    except msgspec.ValidationError as error:
        raise ValueError(_in_words(str(error))) from error


RuleList = Annotated[
    tuple[Rule, ...],
    PlainValidator(parse_rules),
    PlainSerializer(lambda rules: list(msgspec.to_builtins(rules)), return_type=list[Any]),
]
"""Rules as a field of a pydantic class."""

NO_RULES: Final = Rules()


def named(
    rules: Sequence[Rule], now: datetime, segments: Collection[str] = ()
) -> Iterator[tuple[str, Rule]]:
    """The rules in force with the names under which diagnostics speak of them."""
    for position, rule in enumerate(rules):
        if rule.in_force(now, segments):
            yield rule.name or f"rules[{position}]", rule


def _refuse_empty(test: _Part) -> None:
    if all(getattr(test, name) is None for name in test.__struct_fields__):
        fields = ", ".join(test.__struct_encode_fields__)
        raise ValueError(f"a test without an operator; use one of {fields}")


def _refuse_crossed(low: str, least: float | None, high: str, most: float | None) -> None:
    if least is not None and most is not None and least > most:
        raise ValueError(f"{low} is {least:g} and {high} {most:g}; {high} must not be below {low}")


def _in_words(message: str) -> str:
    expected, _, path = message.partition(" - at `$")
    where = re.sub(r"`$", "", path)
    return f"rules{where}: {expected}" if where else f"rules: {expected}"
