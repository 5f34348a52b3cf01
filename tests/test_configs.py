"""The configuration: every file is valid at every depth, and every key is described."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError
from readme import ROOT
from reference import CLASSES, USES, missing_meanings, models_in, reachable

from recsys.models.registry import MODELS
from training.config import TrainingConfig, load_config

DOCUMENTED = ("training.yaml", "serving.yaml")
"""The files that show the defaults."""


def content(file: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "configs" / file).read_text(encoding="utf-8"))
    return read


def test_every_file_of_configs_is_known_with_its_class() -> None:
    assert {path.name for path in (ROOT / "configs").glob("*.yaml")} == set(CLASSES)
    assert set(CLASSES.values()) == set(USES)


@pytest.mark.parametrize(("file", "model"), CLASSES.items())
def test_the_shipped_configuration_is_valid(file: str, model: type[BaseModel]) -> None:
    model.model_validate(content(file))


def test_a_file_that_a_recipe_names_stands_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(f"recipe: {{placements: {ROOT / 'configs' / 'placements.yaml'}}}")
    assert load_config(path).recipe.placements[0].name == "for_you"


@pytest.mark.parametrize("root", USES, ids=lambda model: model.__name__)
def test_no_class_takes_a_key_that_it_does_not_know_at_any_depth(root: type[BaseModel]) -> None:
    open_classes = [
        model.__name__ for model in reachable(root) if model.model_config.get("extra") != "forbid"
    ]
    assert open_classes == []


@pytest.mark.parametrize("file", CLASSES)
def test_a_misspelt_key_is_refused_wherever_it_stands(file: str) -> None:
    for path in section_paths(content(file), CLASSES[file]):
        changed = content(file)
        section = changed
        for step in path:
            section = section[step]
        section["no_such_key"] = 1
        with pytest.raises(ValidationError, match="no_such_key"):
            CLASSES[file].model_validate(changed)


def section_paths(
    values: Any, model: type[BaseModel], path: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    """Where the file has a section that a class reads."""
    yield path
    for name, value in values.items():
        inner = models_in(model.model_fields[name].annotation)
        if inner and isinstance(value, dict):
            yield from section_paths(value, inner[0], (*path, name))
        for index, entry in enumerate(value if inner and isinstance(value, list) else ()):
            yield from section_paths(entry, inner[0], (*path, name, index))


@pytest.mark.parametrize("file", DOCUMENTED)
def test_each_documented_default_is_that_of_the_class(file: str) -> None:
    defaults = CLASSES[file]().model_dump(mode="json")
    validated = CLASSES[file].model_validate(content(file)).model_dump(mode="json")
    assert list(differences(content(file), validated, defaults)) == []


def differences(
    written: Mapping[str, Any], read: Mapping[str, Any], defaults: Mapping[str, Any], path: str = ""
) -> Iterator[str]:
    """The keys of a file whose value is not the default, at every depth, with both values."""
    for name in written:
        key = f"{path}{name}"
        if name not in defaults:
            yield f"{key} has no default"
        elif key == "recipe.models":
            for family, settings in written[name].items():
                fitted = MODELS[family].config().model_dump(mode="json")
                yield from differences(settings, settings, fitted, f"{key}.{family}.")
        elif key == "recipe.placements":
            shipped = {entry["name"]: entry for entry in defaults[name]}
            for entry, values in zip(written[name], read[name], strict=True):
                placement = shipped[entry["name"]]
                yield from differences(entry, values, placement, f"{key}.{entry['name']}.")
        elif isinstance(written[name], dict) and isinstance(defaults[name], dict):
            yield from differences(written[name], read[name], defaults[name], f"{key}.")
        elif read[name] != defaults[name]:
            yield f"{key} is {read[name]!r}, the default {defaults[name]!r}"


def test_every_key_has_a_meaning_in_the_source() -> None:
    assert missing_meanings() == []


def test_the_generated_readme_is_current() -> None:
    written = subprocess.run(
        [sys.executable, "configs/reference.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    current = (ROOT / "configs" / "README.md").read_text(encoding="utf-8")
    assert current == written.stdout, "run make docs"


def test_every_key_of_the_training_configuration_is_shown_in_its_file() -> None:
    shown = set(content("training.yaml"))
    assert shown == set(TrainingConfig.model_fields) - {"checks", "imports"}
