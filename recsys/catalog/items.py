"""What the shop sells: items as they are sent, and the catalogue as columns over row numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from recsys.events.schema import (
    CATEGORY_SEPARATOR,
    Id,
    Price,
    Text,
    Timestamp,
    Word,
    parse_struct,
)
from recsys.ids import Vocabulary

ItemKind = Literal["product", "article", "banner", "offer"]
Stock = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class Item(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """One item of the catalogue; sending it again replaces it whole.

    `category` is a path from the widest to the narrowest (`["Home", "Kitchen", "Mugs"]`);
    `stock` None means that the shop does not count it; `withdrawn` items are never shown. An item
    whose `price` is below its `list_price` is on sale.
    """

    item_id: Id
    title: Text = ""
    category: Annotated[list[Word], msgspec.Meta(max_length=10)] = []
    brand: Word | None = None
    price: Price | None = None
    list_price: Price | None = None
    stock: Stock | None = None
    withdrawn: bool = False
    available_from: Timestamp | None = None
    available_until: Timestamp | None = None
    kind: ItemKind = "product"
    variant_of: Id | None = None
    attributes: dict[Word, Text | float | bool | list[Word]] = {}

    @property
    def on_sale(self) -> bool:
        """Whether it costs less than its list price."""
        return (
            self.price is not None
            and self.list_price is not None
            and (self.price < self.list_price)
        )


class ItemChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new stock or price of an item; what it leaves out stays as it is, null forgets it."""

    item_id: Id
    stock: Stock | msgspec.UnsetType | None = msgspec.UNSET
    price: Price | msgspec.UnsetType | None = msgspec.UNSET
    list_price: Price | msgspec.UnsetType | None = msgspec.UNSET

    def applied(self, item: Item) -> Item:
        """The item with this change."""
        named = {name: getattr(self, name) for name in ("stock", "price", "list_price")}
        changed = {name: value for name, value in named.items() if value is not msgspec.UNSET}
        return msgspec.structs.replace(item, **changed)


def parse_item_change(raw: bytes | msgspec.Raw) -> ItemChange:
    """The change in `raw` (JSON text); InvalidInput names field, value and remedy."""
    return parse_struct(raw, _change_decoder, whole="item")


def parse_item(raw: bytes | msgspec.Raw | Mapping[str, Any]) -> Item:
    """The item in `raw` (JSON text or a mapping); InvalidInput names field, value and remedy."""
    return parse_struct(raw, _decoder, whole="item", choices={"kind": get_args(ItemKind)})


_decoder: Final = msgspec.json.Decoder(Item)
_change_decoder: Final = msgspec.json.Decoder(ItemChange)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The items in the order of a vocabulary, and their columns.

    `items[n]` describes row number n; an item known from events alone has its id and nothing else.
    `prices` is float32 with NaN where unknown; `categories` and `brands` are int32 codes into
    their vocabularies, −1 where unknown. The category code is that of the whole path.
    """

    vocabulary: Vocabulary
    items: tuple[Item, ...]
    prices: NDArray[np.float32]
    category_names: Vocabulary
    categories: NDArray[np.int32]
    brand_names: Vocabulary
    brands: NDArray[np.int32]

    @classmethod
    def of(cls, items: Sequence[Item], vocabulary: Vocabulary | None = None) -> Catalog:
        """The catalogue in the vocabulary's order; later entries of one id replace earlier ones."""
        by_id = {item.item_id: item for item in items}
        if vocabulary is None:
            vocabulary = Vocabulary.of(by_id)
        ordered = tuple(by_id.get(id) or Item(item_id=id) for id in vocabulary)
        paths = [category_path(item) for item in ordered]
        category_names = Vocabulary.of(path for path in paths if path)
        brand_names = Vocabulary.of(item.brand for item in ordered if item.brand)
        return cls(
            vocabulary=vocabulary,
            items=ordered,
            prices=np.array(
                [np.nan if item.price is None else item.price for item in ordered], np.float32
            ),
            category_names=category_names,
            categories=category_names.numbers(paths),
            brand_names=brand_names,
            brands=brand_names.numbers([item.brand or "" for item in ordered]),
        )

    def title(self, number: int) -> str:
        """The title, or the id where the item has none."""
        item = self.items[number]
        return item.title or item.item_id

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"<Catalog of {len(self):,} items>"


def category_path(item: Item) -> str:
    """The category path as one text, `Home > Kitchen > Mugs`; empty where unknown."""
    return CATEGORY_SEPARATOR.join(item.category)
