"""The phrases of each language: one file per language in `languages/`.

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

if TYPE_CHECKING:  # a type checker cannot evaluate a Literal of the files that are there
    Language = str
else:
    Language = Literal[LANGUAGES]
    """The code of a language that has a file; requests with any other are refused."""
