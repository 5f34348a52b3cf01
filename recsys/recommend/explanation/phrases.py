"""Phrases for reasons, sources and traits: one file per language in `languages/`.

A language is added as `languages/<ISO 639-1 code>.json` with the codes, sources and traits of
`en.json`:

- `reasons`: reason code → its phrase in two tones. The open one may name evidence (`{title}`,
  `{brand}`, `{days}` …), the subtle one never does, so that it can be used for sensitive items.
- `sources`: source → the phrase that names it. Model families bring a label of their own
  (`ModelFamily.labels`); a file may name families too, in place of that label.
- `traits`: trait of a profile → its name. A trait of the shop's own keeps the name it has there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec

from recsys.bundle.placements import Tone
from recsys.models.registry import known_family

DEFAULT_LANGUAGE: Final = "en"
TONES: Final[tuple[Tone, ...]] = get_args(Tone)


class Phrase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One reason in one language."""

    open: str
    subtle: str

    def in_tone(self, tone: Tone) -> str:
        """The template of that tone."""
        return self.open if tone == "open" else self.subtle


class LanguageFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The phrases of one language."""

    reasons: dict[str, Phrase]
    sources: dict[str, str]
    traits: dict[str, str]


def read_languages(folder: Path) -> dict[str, LanguageFile]:
    """Language code → its phrases, for every `<code>.json` in a folder; ValueError names a file
    that is not one."""
    return {path.stem: _read(path) for path in sorted(folder.glob("*.json"))}


def _read(path: Path) -> LanguageFile:
    try:
        return msgspec.json.decode(path.read_bytes(), type=LanguageFile)
    except msgspec.DecodeError as error:
        raise ValueError(f"Language file {path} cannot be read: {error}.") from error


PHRASES: Final[Mapping[str, LanguageFile]] = read_languages(Path(__file__).with_name("languages"))
LANGUAGES: Final = tuple(PHRASES)

if TYPE_CHECKING:
    Language = str
else:
    Language = Literal[LANGUAGES]
    """The code of a language that has a file; requests with any other are refused."""

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
