"""`ItemColumns`: attributes of items as columns over row numbers, and masks of the items that match
a condition (`recsys.catalog.rules`).

A column is made at its first use and patched where items change. A mask is kept until one of its
columns changes, so that a repeated condition costs a look-up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from recsys.catalog.coded_column import CodedColumn, Codes, Test, Value, between
from recsys.catalog.item_groups import ItemGroups, item_groups_of
from recsys.catalog.items import Catalog, Item
from recsys.catalog.rules import (
    ATTRIBUTE,
    AmountTest,
    Condition,
    NameTest,
    PathTest,
    Where,
)
from recsys.events.schema import CATEGORY_SEPARATOR
from recsys.ids import Mask, Numbers, Vocabulary

COLUMNS: Final = ("category", "brand", "kind", "price", "stock")
AMOUNTS: Final = ("price", "stock")
PREPARED_ATTRIBUTES: Final = 30
COLUMN_BYTES: Final = 256 * 1024 * 1024
"""Memory for the codes of all columns; the oldest are dropped first."""
MASK_BYTES: Final = 32 * 1024 * 1024
"""Memory for the kept masks; the oldest are dropped first."""


class ItemColumns:
    """The columns of one state of the catalogue; reading them from several threads is safe."""

    def __init__(self, items: Sequence[Item], vocabulary: Vocabulary) -> None:
        self._items = items
        self._vocabulary = vocabulary
        self._columns: dict[str, CodedColumn] = {}
        self._attributes: frozenset[str] | None = None
        self._amounts: dict[str, NDArray[np.float64]] = {}
        self._masks: dict[bytes, tuple[Mask, frozenset[str]]] = {}
        self._item_groups: ItemGroups | None = None
        self._all_products: bool | None = None

    def __repr__(self) -> str:
        return f"<ItemColumns of {len(self._items):,} items>"

    def prepare(self) -> None:
        """Makes the columns that most rules use, so that no request waits for them."""
        for name in COLUMNS:
            if name in AMOUNTS:
                self._amount_column(name)
            else:
                self._column(name)
        attributes = Counter(name for item in self._items for name in item.attributes)
        self._attributes = frozenset(attributes)
        for name, _ in attributes.most_common(PREPARED_ATTRIBUTES):
            self._column(ATTRIBUTE + name)
        self._groups()

    @classmethod
    def of(cls, catalog: Catalog) -> ItemColumns:
        """The columns of a catalogue; categories and brands are coded there already."""
        columns = cls(catalog.items, catalog.vocabulary)
        paths = [_prefixes(name.split(CATEGORY_SEPARATOR)) for name in catalog.category_names]
        columns._columns = {
            "category": CodedColumn.of(catalog.categories, paths),
            "brand": CodedColumn.of(catalog.brands, list(catalog.brand_names)),
        }
        return columns

    def mask(self, where: Where) -> Mask:
        """Which items fulfil the condition; read-only."""
        text = _encoder.encode(where)
        kept = self._masks.get(text)
        if kept is not None:
            return kept[0]
        mask = self._evaluated(where)
        mask.setflags(write=False)
        while self._masks and len(self._masks) * len(mask) > MASK_BYTES:
            self._masks.pop(next(iter(self._masks)))
        self._masks[text] = mask, _columns_of(where)
        return mask

    def codes(self, attribute: str, *, depth: int | None = None) -> Codes:
        """Each item's value of `category`, `brand`, `kind` or `attributes.<name>` as a number; of a
        category path the first `depth` levels."""
        return self._column(attribute, depth).codes

    def with_variants(self, numbers: Numbers) -> Numbers:
        """These items and all other variants of the same products."""
        groups = self._groups()
        if not groups.members or not len(numbers):
            return numbers
        of_these = {groups.of[number] for number in numbers[numbers >= 0].tolist()}
        variants = [groups.members[group] for group in of_these if group in groups.members]
        return np.concatenate([numbers, *variants]) if variants else numbers

    @property
    def only_products(self) -> Mask | None:
        """Which items are products; None where all are."""
        products = self.mask(_PRODUCTS)
        if self._all_products is None:
            self._all_products = bool(products.all())
        return None if self._all_products else products

    @property
    def item_groups(self) -> Codes | None:
        """Per item the number of its group, the same for all variants of one product; None where no
        item has a variant."""
        groups = self._groups()
        return groups.of if groups.members else None

    def with_changes(self, items: Sequence[Item], changed: Sequence[int]) -> ItemColumns:
        """The columns after the items at these row numbers were replaced; `items` are all items.

        What the change does not touch is shared: new stock leaves brands and their masks as they
        are.
        """
        after = ItemColumns(items, self._vocabulary)
        replaced = [(self._items[number], items[number]) for number in changed]
        touched = {name for old, new in replaced for name in _differing(old, new)}
        for name, column in dict(self._columns).items():
            if ("category" if name.startswith("category:") else name) in touched:
                column = column.copy()
                column.put(changed, map(_reader(name), (new for _, new in replaced)))
            after._columns[name] = column
        for name, amounts in dict(self._amounts).items():
            if name in touched:
                amounts = amounts.copy()
                amounts[list(changed)] = [_amount(getattr(new, name)) for _, new in replaced]
            after._amounts[name] = amounts
        for text, (mask, names) in list(self._masks.items()):
            if names.isdisjoint(touched):
                after._masks[text] = mask, names
        if self._attributes is not None:
            after._attributes = self._attributes.union(*(new.attributes for _, new in replaced))
        if "variant_of" not in touched:
            after._item_groups = self._item_groups
        return after

    def _evaluated(self, where: Where) -> Mask:
        mask = self._matching(where)
        if where.any is not None:
            mask &= np.logical_or.reduce(
                [np.zeros(len(mask), np.bool_), *map(self._matching, where.any)]
            )
        for part in where.none or ():
            mask &= ~self._matching(part)
        return mask

    def _matching(self, condition: Condition) -> Mask:
        mask = np.ones(len(self._items), np.bool_)
        if condition.item_id is not None:
            mask &= self._named(condition.item_id)
        for name, amount in (("price", condition.price), ("stock", condition.stock)):
            if amount is not None:
                mask &= _amount_matching(self._amount_column(name), amount)
        tests: dict[str, Test | None] = {
            "kind": condition.kind,
            "category": _spaced(condition.category),
            "brand": condition.brand,
        }
        for name, value in condition.attributes.items():
            tests[ATTRIBUTE + name] = value
        for name, test in tests.items():
            if test is not None:
                mask &= self._column(name).matching(test)
        return mask

    def _named(self, test: str | NameTest) -> Mask:
        if isinstance(test, str):
            test = NameTest(in_=[test])
        mask = np.ones(len(self._items), np.bool_)
        if test.in_ is not None:
            mask[:] = False
            mask[self._vocabulary.known(test.in_)] = True
        if test.not_in is not None:
            mask[self._vocabulary.known(test.not_in)] = False
        if test.exists is False:
            mask[:] = False
        return mask

    def _column(self, attribute: str, depth: int | None = None) -> CodedColumn:
        name = attribute if depth is None else f"{attribute}:{depth}"
        column = self._columns.get(name)
        if column is not None:
            return column
        column = CodedColumn(np.full(len(self._items), -1, np.int32))
        if attribute.startswith(ATTRIBUTE) and not self._has(attribute.removeprefix(ATTRIBUTE)):
            # No column is kept for a name that no item has: requests could fill the memory.
            return column
        column.put(range(len(self._items)), map(_reader(name), self._items))
        while self._columns and len(self._columns) * column.codes.nbytes > COLUMN_BYTES:
            self._columns.pop(next(iter(self._columns)))
        self._columns[name] = column
        return column

    def _has(self, attribute: str) -> bool:
        """Whether an item has a free attribute of this name."""
        if self._attributes is None:
            self._attributes = frozenset(name for item in self._items for name in item.attributes)
        return attribute in self._attributes

    def _amount_column(self, name: str) -> NDArray[np.float64]:
        amounts = self._amounts.get(name)
        if amounts is None:
            amounts = np.array([_amount(getattr(item, name)) for item in self._items], np.float64)
            self._amounts[name] = amounts
        return amounts

    def _groups(self) -> ItemGroups:
        if self._item_groups is None:
            self._item_groups = item_groups_of(self._items, self._vocabulary)
        return self._item_groups


def _reader(name: str) -> Callable[[Item], Value]:
    """How a column's value is read from an item; a category gives every path that it lies in."""
    if name.startswith(ATTRIBUTE):
        key = name.removeprefix(ATTRIBUTE)

        def attribute(item: Item) -> Value:
            value = item.attributes.get(key)
            return tuple(value) if isinstance(value, list) else value

        return attribute
    if name == "category":
        paths: dict[tuple[str, ...], tuple[str, ...]] = {}

        def category(item: Item) -> Value:
            levels = tuple(item.category)
            if levels not in paths:
                paths[levels] = _prefixes(levels)
            return paths[levels]

        return category
    if name.startswith("category:"):
        depth = int(name.removeprefix("category:"))
        return lambda item: CATEGORY_SEPARATOR.join(item.category[:depth]) or None
    if name == "brand":
        return lambda item: item.brand
    return lambda item: item.kind


def _prefixes(levels: Sequence[str]) -> tuple[str, ...]:
    """A category path and every path above it, the widest first."""
    return tuple(accumulate(map(_spaced_path, levels), f"{{}}{CATEGORY_SEPARATOR}{{}}".format))


def _spaced(test: str | PathTest | None) -> str | PathTest | None:
    """The test with its paths written as those of the columns, `Home > Kitchen`."""
    if isinstance(test, str):
        return _spaced_path(test)
    if test is None:
        return None
    return PathTest(
        in_=None if test.in_ is None else list(map(_spaced_path, test.in_)),
        not_in=None if test.not_in is None else list(map(_spaced_path, test.not_in)),
        exists=test.exists,
    )


def _spaced_path(path: str) -> str:
    return CATEGORY_SEPARATOR.join(level.strip() for level in path.split(">"))


def _differing(old: Item, new: Item) -> Iterator[str]:
    """The columns in which two states of an item differ."""
    for name in (*COLUMNS, "variant_of"):
        if getattr(old, name) != getattr(new, name):
            yield name
    if old.attributes != new.attributes:
        for name in old.attributes.keys() | new.attributes.keys():
            yield ATTRIBUTE + name


def _columns_of(where: Where) -> frozenset[str]:
    """The columns that a condition looks at; ids never change."""
    names: set[str] = set()
    for part in (where, *(where.any or ()), *(where.none or ())):
        names |= {name for name in COLUMNS if getattr(part, name) is not None}
        names |= {ATTRIBUTE + name for name in part.attributes}
    return frozenset(names)


def _amount(value: float | None) -> float:
    return np.nan if value is None else value


def _amount_matching(amounts: NDArray[np.float64], test: float | AmountTest) -> Mask:
    if isinstance(test, AmountTest):
        mask = np.ones(len(amounts), np.bool_)
        if not (test.min is None and test.max is None):
            mask &= between(amounts, test.min, test.max)
        if test.exists is not None:
            mask &= np.isfinite(amounts) == test.exists
        return mask
    return np.asarray(amounts == test)


_PRODUCTS: Final = Where(kind="product")
_encoder: Final = msgspec.json.Encoder()
