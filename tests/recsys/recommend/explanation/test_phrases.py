"""Language files are complete, and name every source and trait."""

from __future__ import annotations

import string
from pathlib import Path
from typing import get_args

import pytest

from recsys.models.registry import MODELS
from recsys.recommend.answers import CATALOG, EXPLORATION, PINNED
from recsys.recommend.explanation.language_files import (
    DEFAULT_LANGUAGE,
    LANGUAGES,
    PHRASES,
    TONES,
    Language,
    read_languages,
)
from recsys.recommend.explanation.phrases import SOURCE_CODES, source_code, source_label, trait_name
from recsys.recommend.rerank_scores import ENGINE

ENGLISH = PHRASES[DEFAULT_LANGUAGE]


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_english_and_dutch_have_a_file_each() -> None:
    assert {"en", "nl"} <= set(LANGUAGES)
    assert get_args(Language) == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_file_has_the_codes_sources_and_traits_of_the_english_one(language: str) -> None:
    phrases = PHRASES[language]
    assert set(phrases.reasons) == set(ENGLISH.reasons)
    assert set(ENGLISH.sources) <= set(phrases.sources) <= set(ENGLISH.sources) | set(MODELS)
    assert set(phrases.traits) == set(ENGLISH.traits)
    names = (*phrases.sources.values(), *phrases.traits.values())
    assert all(name.strip() and not placeholders(name) for name in names)


@pytest.mark.parametrize("code", ENGLISH.reasons)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_phrase_has_both_tones_and_the_placeholders_of_the_english_one(
    language: str, code: str
) -> None:
    phrase = PHRASES[language].reasons[code]
    assert all(phrase.in_tone(tone).strip() for tone in TONES)
    assert placeholders(phrase.open) == placeholders(ENGLISH.reasons[code].open)
    assert not placeholders(phrase.subtle)


def test_every_event_with_the_item_itself_has_a_phrase() -> None:
    events = ("bought", "in_cart", "on_wishlist", "rated", "viewed", "liked", "account")
    assert {f"{code}_before" for code in events} <= set(ENGLISH.reasons)


def test_every_source_has_a_label_in_every_language_and_a_reason() -> None:
    sources = (*MODELS, ENGINE, CATALOG, PINNED, EXPLORATION)
    assert set(sources) == set(SOURCE_CODES) | set(MODELS)
    assert {source_code(source) for source in sources} <= set(ENGLISH.reasons)
    for language in LANGUAGES:
        assert all(language in family.labels for family in MODELS.values())
        labels = [source_label(source, language) for source in sources]
        assert all(label.strip() and "_" not in label for label in labels)


def test_a_source_or_trait_without_a_name_in_the_file_keeps_its_own() -> None:
    assert source_label("made_elsewhere", "nl") == "made elsewhere"
    assert trait_name("shoe_size", "nl") == "shoe size"


def test_a_language_is_added_by_one_file(tmp_path: Path) -> None:
    english = (
        Path(__file__).parents[4] / "recsys" / "recommend" / "explanation" / "languages" / "en.json"
    )
    (tmp_path / "fy.json").write_bytes(english.read_bytes())
    assert read_languages(tmp_path) == {"fy": ENGLISH}


def test_a_damaged_language_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "fy.json").write_text('{"reasons": {}}')
    with pytest.raises(ValueError, match=r"fy\.json cannot be read.*sources"):
        read_languages(tmp_path)
