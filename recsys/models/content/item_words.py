"""Named features of an item's description: title words, category nodes, price steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import numpy as np

from recsys.catalog.items import Item
from recsys.events.schema import CATEGORY_SEPARATOR

WORD: Final = re.compile(r"[^\W_]{2,}")


def title_words(item: Item) -> list[str]:
    """The words of the title in lower case, two characters and more, repeats kept."""
    return WORD.findall(item.title.lower())


def category_nodes(item: Item) -> list[str]:
    """Every node of the category path with the path that leads to it, the widest first."""
    return [
        CATEGORY_SEPARATOR.join(item.category[: depth + 1]) for depth in range(len(item.category))
    ]


def price_steps(item: Item) -> Iterator[tuple[int, float]]:
    """The two nearest steps of √2 in price and how near each is; nothing without a price.

    Close prices share weight even where the boundary of a step lies between them.
    """
    if item.price is None:
        return
    position = 2.0 * float(np.log2(max(item.price, 0.01)))
    below = int(np.floor(position))
    above_share = position - below
    if above_share < 1.0:
        yield below, 1.0 - above_share
    if above_share > 0.0:
        yield below + 1, above_share
