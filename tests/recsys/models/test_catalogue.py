"""The README of the model families says what the registry says."""

from __future__ import annotations

from pathlib import Path

from recsys.models import catalogue
from recsys.models.registry import MODELS

README = Path(catalogue.__file__).with_name("README.md")


def test_the_committed_readme_is_current() -> None:
    assert README.read_text(encoding="utf-8") == catalogue.models_readme(), "run `make docs`"


def test_every_family_says_when_it_helps_and_links_to_its_file() -> None:
    text = README.read_text(encoding="utf-8")
    for name, family in MODELS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| [`{name}`]")]
        link = row.split("](")[1].split(")")[0]
        assert family.helps
        assert (README.parent / link).is_file()
