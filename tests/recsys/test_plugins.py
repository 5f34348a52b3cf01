"""Objects of the shop's own code, by entry point or by path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from recsys.errors import InvalidInput
from recsys.plugins import declared, resolve


def test_a_path_gives_the_object_that_it_names() -> None:
    assert resolve("recsys.ids:Vocabulary", "recsys.metrics").__name__ == "Vocabulary"
    assert resolve("recsys.ids:Vocabulary.of", "recsys.models").__name__ == "of"


@pytest.mark.parametrize(
    "name", ["recsys.ids:Nothing", "no_such_module:thing", ":x", "recsys.ids:"]
)
def test_a_path_that_cannot_be_imported_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be imported") as refusal:
        resolve(name, "recsys.metrics")
    assert refusal.value.value == name


def test_a_name_that_nobody_declares_is_refused_with_the_ways_to_name_one() -> None:
    with pytest.raises(InvalidInput, match="module:attribute"):
        resolve("profit", "recsys.metrics")


def test_an_installed_package_declares_by_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = tmp_path / "shop_metrics-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-metrics\nVersion: 1\n")
    (information / "entry_points.txt").write_text(
        "[recsys.metrics]\nprofit = shop_metrics_module:PROFIT\n"
    )
    (tmp_path / "shop_metrics_module.py").write_text("PROFIT = 'the metric'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shop_metrics_module", raising=False)
    assert declared("recsys.metrics") == ("profit",)
    assert resolve("profit", "recsys.metrics") == "the metric"
