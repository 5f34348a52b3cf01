"""Search in the synthetic shop: terms, true relevance grades, and an engine with errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.catalog.items import Item
from recsys.errors import InvalidInput
from recsys.synthetic.assortment import CATEGORIES

ENGINE_NOISE: Final = 1.3
"""Standard deviation of the engine's error, in grades."""
STRAYS: Final = 3.0
"""Mean number of irrelevant items in a result."""


@dataclass(frozen=True, slots=True)
class SearchEngine:
    """Terms with the true grade and the engine's score of every item.

    `grades` is terms × items, 0 to 3; `scores` float32, NaN where the engine does not find it.
    """

    terms: tuple[str, ...]
    categories: NDArray[np.int64]
    """The category that a term is about."""
    grades: NDArray[np.int8]
    scores: NDArray[np.float32]

    def number(self, term: str) -> int:
        """The row of a term; InvalidInput where the shop does not know it."""
        if term not in self.terms:
            raise InvalidInput("query", term, f"use a term of this shop, such as {self.terms[0]!r}")
        return self.terms.index(term)

    def page(self, term: str, on_sale: NDArray[np.bool_], n: int) -> list[tuple[int, float]]:
        """The engine's n best items on sale with their scores, best first."""
        scores = np.where(on_sale, self.scores[self.number(term)], np.nan)
        scored = np.flatnonzero(np.isfinite(scores))
        best = scored[np.lexsort((scored, -scores[scored]))[:n]]
        return [(int(number), float(scores[number])) for number in best]

    def about(self, category: int) -> NDArray[np.int64]:
        """The rows of the terms about a category."""
        return np.flatnonzero(self.categories == category)


def make_search_engine(
    items: Sequence[Item], item_categories: NDArray[np.int32], *, rng: Generator
) -> SearchEngine:
    """Two terms per category: its name, and a title's noun with a variant (`blue enamel mug`).

    Grades come from words alone: 3 where the title has every word of the term, or the item is of
    the category that the term names; 2 for half the words or more within the category, 1 for the
    rest of the category and for other items of the department that share a word, else 0.
    """
    stems = [_stems(item.title) for item in items]
    terms: list[str] = []
    about: list[int] = []
    rows: list[NDArray[np.int8]] = []
    for category, spec in enumerate(CATEGORIES):
        members = np.flatnonzero(item_categories == category)
        example = items[int(rng.choice(members))]
        noun = next(noun for noun in spec.nouns if example.title.startswith(noun))
        for term, is_name in (
            (spec.name.lower(), True),
            (f"{example.attributes['variant']} {noun}".lower(), False),
        ):
            terms.append(term)
            about.append(category)
            rows.append(_grades(term, category, items, stems, item_categories, is_name=is_name))
    grades = np.array(rows)
    noisy = grades + rng.normal(0.0, ENGINE_NOISE, grades.shape)
    astray = rng.random(grades.shape) < STRAYS / len(items)
    retrieved = ((grades > 0) & (noisy > 0.0)) | astray
    scores = np.where(retrieved, np.exp(np.where(retrieved, noisy, 0.0)), np.nan).astype(np.float32)
    return SearchEngine(tuple(terms), np.array(about), grades, scores)


def _grades(
    term: str,
    category: int,
    items: Sequence[Item],
    stems: Sequence[frozenset[str]],
    item_categories: NDArray[np.int32],
    *,
    is_name: bool,
) -> NDArray[np.int8]:
    sought = _stems(term)
    department = CATEGORIES[category].department
    grades = np.zeros(len(items), np.int8)
    for number, in_title in enumerate(stems):
        share = len(sought & in_title) / len(sought)
        if item_categories[number] == category:
            grades[number] = 3 if is_name or share == 1.0 else 2 if share >= 0.5 else 1
        elif share > 0.0 and items[number].category[0] == department:
            grades[number] = 1
    return grades


def _stems(text: str) -> frozenset[str]:
    """Lower-case words without a plural s."""
    return frozenset(word.rstrip("s") for word in text.lower().replace("&", " ").split())
