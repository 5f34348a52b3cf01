"""The phrases that name sources and traits, and the reasons of sources without evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from recsys.models.registry import known_family
from recsys.recommend.explanation.language_files import DEFAULT_LANGUAGE, PHRASES, Language

SOURCE_CODES: Final[Mapping[str, str]] = {
    "exploration": "new",
    "engine": "listed",
    "catalog": "in_catalog",
    "pinned": "chosen_by_shop",
}
"""Source that is no model → the code of its reason."""


def source_code(source: str) -> str:
    """The code of the reason that is shown where a source names no evidence."""
    family = known_family(source)
    return SOURCE_CODES.get(source, "taste") if family is None else family.reason


def source_label(source: str, language: Language = DEFAULT_LANGUAGE) -> str:
    """The phrase that names the source of an item: that of the language file, else the family's
    label in this language, else its English one; the name of the source where there is none."""
    family = known_family(source)
    labels = {} if family is None else family.labels
    return (
        PHRASES[language].sources.get(source)
        or labels.get(language)
        or labels.get(DEFAULT_LANGUAGE)
        or source.replace("_", " ")
    )


def trait_name(trait: str, language: Language = DEFAULT_LANGUAGE) -> str:
    """The name of a trait; the shop's own name, spelt with spaces, where the file has none."""
    return PHRASES[language].traits.get(trait, trait.replace("_", " "))
