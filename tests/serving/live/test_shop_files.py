"""placements.yaml and segments.yaml while the service runs: taken when good, refused when bad."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.bundle.shop_settings import PlacementsConfig
from recsys.errors import InvalidConfig
from recsys.store.sqlite import SQLiteStore
from serving.live.bundle_source import BundleSource, Polling
from serving.live.shop_files import ShopFiles, read_config
from serving.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def source(
    tmp_path: Path, store: SQLiteStore, metrics: Metrics, publish: Callable[..., None]
) -> BundleSource:
    """A source of one published bundle and of two files that are not there yet."""
    publish(tmp_path / "published", "v1")
    return BundleSource(
        tmp_path / "published",
        store,
        metrics=metrics,
        polling=Polling(bundle=1, catalog=1, refused=30),
        stopwatch=lambda: 0.0,
        files=ShopFiles(
            placements=tmp_path / "placements.yaml",
            segments=tmp_path / "segments.yaml",
            metrics=metrics,
        ),
    )


def write(folder: Path, text: str, name: str = "placements.yaml") -> None:
    (folder / name).write_text(text)


def outcomes(metrics: Metrics, outcome: str) -> float:
    return metrics.shop_files.labels(outcome)._value.get()  # type: ignore[no-any-return]


def served(source: BundleSource) -> set[str]:
    assert source.current is not None
    return set(source.current.variants[0].bundle.placements)


WINNERS = "placements: [{name: winners, blend: {popularity: 1.0}}]"


def test_a_file_that_is_there_at_the_start_is_in_force(
    source: BundleSource, tmp_path: Path
) -> None:
    write(tmp_path, WINNERS)
    source.follow_files()
    source.follow_pointer()
    assert "winners" in served(source)


def test_a_changed_file_is_in_force_without_a_restart_and_a_bad_one_is_refused(
    source: BundleSource, tmp_path: Path, metrics: Metrics
) -> None:
    source.follow_files()
    refused = outcomes(metrics, "refused")
    source.follow_pointer()
    before = served(source)
    write(tmp_path, WINNERS)
    assert source.follow_files()
    assert served(source) == before | {"winners"}
    assert not source.follow_files()
    write(tmp_path, "placements: [{name: winners, blnd: {popularity: 1.0}}]")
    assert not source.follow_files()
    assert served(source) == before | {"winners"}
    assert outcomes(metrics, "refused") == refused + 1
    write(tmp_path, "placements: [")
    assert not source.follow_files()
    write(tmp_path, "placements: []")
    assert source.follow_files()
    assert served(source) == before
    assert outcomes(metrics, "taken") == 2


def test_what_the_bundle_has_no_models_for_is_left_out_with_one_warning(
    source: BundleSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source.follow_pointer()
    write(tmp_path, "placements: [{name: buy_again}, {name: winners, blend: {popularity: 1.0}}]")
    assert source.follow_files()
    source.follow_catalog()
    assert "winners" in served(source)
    assert "buy_again" not in served(source)
    warnings = [record for record in caplog.records if "buy_again" in record.getMessage()]
    assert len(warnings) == 1


def test_segments_are_followed_too(source: BundleSource, tmp_path: Path) -> None:
    source.follow_pointer()
    write(tmp_path, "segments: [{name: mobile, device: [mobile]}]", "segments.yaml")
    assert source.follow_files()
    assert source.current is not None
    bundle = source.current.variants[0].bundle
    assert [segment.name for segment in bundle.segments] == ["mobile"]


def test_a_file_names_the_key_that_is_wrong(tmp_path: Path) -> None:
    write(tmp_path, "placements: [{name: a, repeats: sometimes}]")
    with pytest.raises(InvalidConfig, match=r"placements\.yaml: placements\.0\.repeats"):
        read_config(tmp_path / "placements.yaml", PlacementsConfig)
    with pytest.raises(InvalidConfig, match="cannot be read"):
        read_config(tmp_path / "nowhere.yaml", PlacementsConfig)
