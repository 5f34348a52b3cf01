"""The pointer and the bundles beside it, at every moment at which a process may die."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys.bundle.publication import (
    Experiment,
    Publication,
    Variant,
    bundle_directory,
    read_publication,
    write_publication,
)
from recsys.bundle.save_load import load_bundle
from recsys.errors import BundleError
from training.pipeline.publish import (
    RowsGone,
    make_champion,
    promote,
    repair_pointer,
    roll_back,
    stage,
)
from training.tracking import TrackingError

MakeBundle = Callable[..., Path]


def champion(registry: Any) -> tuple[str | None, str, str | None]:
    """The registry's champion, the version that is served and whole, and the one before it."""
    publication = read_publication(registry.root)
    assert publication is not None
    version = publication.champion.model_version
    assert load_bundle(bundle_directory(registry.root, version)).model_version == version
    current = registry.tracking.champion()
    return None if current is None else current.model_version, version, publication.previous


def made_champion(registry: Any, *versions: str, keep: int | None = 3) -> None:
    for version in versions:
        promote(registry.tracking, registry.number[version], root=registry.root, keep=keep)


def directories(root: Path) -> set[str]:
    return {path.name for path in (root / "bundles").iterdir()}


def damage(directory: Path) -> None:
    (directory / "items.json").unlink()
    (directory / "items.json").write_text("[]")


def test_promotion_moves_the_registry_and_the_service_together_and_back(registry) -> None:
    made_champion(registry, "night-1", "night-2", "night-3")
    assert champion(registry) == ("night-3", "night-3", "night-2")
    roll_back(registry.tracking, root=registry.root)
    assert champion(registry) == ("night-2", "night-2", "night-1")
    roll_back(registry.tracking, root=registry.root)
    assert champion(registry) == ("night-1", "night-1", None)
    with pytest.raises(TrackingError, match="No champion before"):
        roll_back(registry.tracking, root=registry.root)
    assert champion(registry) == ("night-1", "night-1", None)


def test_promoting_twice_is_promoting_once(registry) -> None:
    made_champion(registry, "night-1", "night-2")
    before = (registry.root / "current.json").stat().st_ino
    made_champion(registry, "night-2")
    assert (registry.root / "current.json").stat().st_ino == before
    assert champion(registry) == ("night-2", "night-2", "night-1")


def test_a_staged_bundle_does_not_depend_on_where_it_came_from(
    registry, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    source = shutil.copytree(make_bundle("night-1"), tmp_path / "source")
    stage(source, root=registry.root)
    damage(source)
    assert load_bundle(bundle_directory(registry.root, "night-1")).model_version == "night-1"


def test_a_damaged_bundle_is_not_staged(registry, make_bundle: MakeBundle, tmp_path: Path) -> None:
    made_champion(registry, "night-1")
    source = shutil.copytree(make_bundle("night-2"), tmp_path / "source")
    damage(source)
    with pytest.raises(BundleError, match="damaged"):
        stage(source, root=registry.root)
    assert directories(registry.root) == {"night-1"}


def test_a_version_that_fails_the_smoke_check_becomes_champion_nowhere(registry) -> None:
    made_champion(registry, "night-1")
    with pytest.raises(BundleError, match="nothing to sell"):
        made_champion(registry, "empty")
    assert champion(registry) == ("night-1", "night-1", None)
    assert directories(registry.root) == {"night-1"}


def test_a_version_that_was_not_staged_is_not_made_champion(registry) -> None:
    made_champion(registry, "night-1")
    with pytest.raises(BundleError, match=r"night-2\) is not staged"):
        make_champion(registry.tracking, registry.number["night-2"], root=registry.root, keep=3)
    assert champion(registry) == ("night-1", "night-1", None)


def test_another_bundle_under_a_staged_version_is_refused(
    registry, make_bundle: MakeBundle
) -> None:
    made_champion(registry, "night-1")
    with pytest.raises(BundleError, match="other files"):
        stage(make_bundle("night-1", loved="plate"), root=registry.root)
    assert champion(registry) == ("night-1", "night-1", None)


def test_promoting_again_replaces_a_published_bundle_that_was_damaged(registry) -> None:
    made_champion(registry, "night-1")
    damage(bundle_directory(registry.root, "night-1"))
    made_champion(registry, "night-1")
    assert champion(registry) == ("night-1", "night-1", None)
    assert directories(registry.root) == {"night-1"}


def test_promoting_again_replaces_a_damaged_pointer(registry) -> None:
    made_champion(registry, "night-1")
    (registry.root / "current.json").write_text("{")
    made_champion(registry, "night-1")
    assert champion(registry) == ("night-1", "night-1", None)


@pytest.mark.parametrize("version", ["", "..", ".hidden", "a/b"])
def test_a_version_that_is_no_directory_name_is_refused(
    tmp_path: Path, make_bundle: MakeBundle, version: str
) -> None:
    with pytest.raises(BundleError, match="names no directory"):
        stage(make_bundle(version), root=tmp_path / "published")


def test_what_a_dead_process_left_half_written_is_removed_and_what_a_living_one_writes_is_not(
    registry,
) -> None:
    made_champion(registry, "night-1")
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        child = process.pid
    (registry.root / "bundles" / f".night-3.{child}.writing").mkdir()
    (registry.root / "bundles" / f".night-4.{os.getpid()}.writing").mkdir()
    made_champion(registry, "night-2")
    assert directories(registry.root) == {"night-1", "night-2", f".night-4.{os.getpid()}.writing"}


def test_old_bundles_go_but_for_the_newest_and_those_that_the_pointer_names(registry) -> None:
    for moment, version in enumerate(("night-1", "night-2", "night-3"), start=1_700_000_000):
        made_champion(registry, version)
        os.utime(bundle_directory(registry.root, version), (moment, moment))
    made_champion(registry, "night-4", keep=2)
    assert directories(registry.root) == {"night-3", "night-4"}
    roll_back(registry.tracking, root=registry.root, keep=1)
    assert champion(registry) == ("night-3", "night-3", None)
    assert directories(registry.root) == {"night-3", "night-4"}
    made_champion(registry, "night-1", keep=None)
    assert directories(registry.root) == {"night-1", "night-3", "night-4"}


def test_other_variants_and_their_experiment_stay_when_the_champion_changes(registry) -> None:
    made_champion(registry, "night-1")
    stage(registry.tracking.bundle_directory(registry.number["night-4"]), root=registry.root)
    variants = [
        Variant(name="champion", model_version="night-1", share=0.9),
        Variant(name="challenger", model_version="night-4", share=0.1),
    ]
    publication = read_publication(registry.root)
    running = Experiment(id="autumn", started_at=registry.tracking.version("1").created)
    write_publication(registry.root, Publication(variants=variants, experiment=running))
    made_champion(registry, "night-2", "night-3", keep=1)
    publication = read_publication(registry.root)
    assert publication == Publication(
        variants=[Variant(name="champion", model_version="night-3", share=0.9), variants[1]],
        previous="night-2",
        experiment=running,
    )
    assert directories(registry.root) == {"night-2", "night-3", "night-4"}


def test_a_rollback_fetches_a_bundle_that_was_removed_or_damaged_from_the_registry(
    registry,
) -> None:
    made_champion(registry, "night-1", "night-2", "night-3")
    shutil.rmtree(bundle_directory(registry.root, "night-2"))
    damage(bundle_directory(registry.root, "night-1"))
    roll_back(registry.tracking, root=registry.root)
    assert champion(registry) == ("night-2", "night-2", "night-1")
    roll_back(registry.tracking, root=registry.root)
    assert champion(registry) == ("night-1", "night-1", None)


def test_a_version_whose_files_in_the_registry_are_damaged_becomes_champion_nowhere(
    tracking, register: Callable[..., str], tmp_path: Path
) -> None:
    root = tmp_path / "published"
    first, second = register("night-1"), register("night-2")
    promote(tracking, first, root=root)
    damage(tracking.bundle_directory(second))
    with pytest.raises(BundleError, match="damaged"):
        promote(tracking, second, root=root)
    assert tracking.champion().version == first
    assert directories(root) == {"night-1"}


def test_a_promotion_that_died_before_the_pointer_is_finished_by_the_next_night(registry) -> None:
    assert repair_pointer(registry.tracking, root=registry.root) is None
    made_champion(registry, "night-1")
    assert repair_pointer(registry.tracking, root=registry.root) is None
    stage(registry.tracking.bundle_directory(registry.number["night-2"]), root=registry.root)
    registry.tracking.promote(registry.number["night-2"])
    assert champion(registry) == ("night-2", "night-1", None)
    repaired = repair_pointer(registry.tracking, root=registry.root)
    assert repaired is not None
    assert "version 2" in repaired
    assert champion(registry) == ("night-2", "night-2", "night-1")
    assert repair_pointer(registry.tracking, root=registry.root) is None


def test_a_rollback_that_died_before_the_pointer_does_not_remember_the_bad_champion(
    registry,
) -> None:
    made_champion(registry, "night-1", "night-2", "night-3")
    registry.tracking.rollback()
    repair_pointer(registry.tracking, root=registry.root)
    assert champion(registry) == ("night-2", "night-2", "night-1")


def test_a_version_with_rows_of_customers_is_served_from_the_published_directory_alone(
    registry, make_bundle: MakeBundle
) -> None:
    for version in ("rows-1", "rows-2"):
        with pytest.raises(RowsGone, match="up_cf store rows of customers"):
            made_champion(registry, version)
        stage(make_bundle(version, customers=True), root=registry.root)
        made_champion(registry, version)
    assert champion(registry) == ("rows-2", "rows-2", "rows-1")
    assert "up_cf" in load_bundle(bundle_directory(registry.root, "rows-2")).models
    roll_back(registry.tracking, root=registry.root)
    assert champion(registry) == ("rows-1", "rows-1", None)


def test_a_champion_whose_rows_of_customers_are_gone_does_not_stop_the_next_night(
    registry,
) -> None:
    made_champion(registry, "night-1")
    registry.tracking.promote(registry.number["rows-1"])
    repaired = repair_pointer(registry.tracking, root=registry.root)
    assert repaired is not None
    assert "cannot be served any more" in repaired
    assert champion(registry) == ("rows-1", "night-1", None)
