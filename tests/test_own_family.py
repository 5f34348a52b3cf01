"""A model family in a file outside the package: named in a recipe, trained, published, served."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml
from rich.console import Console
from running_service import Service

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import read_manifest
from recsys.bundle.placements import Placement
from recsys.bundle.publication import bundle_directory, read_publication
from recsys.bundle.save_load import load_bundle, save_bundle
from recsys.errors import BundleError, InvalidConfig
from recsys.models import registry
from recsys.models.family import ModelFamily
from recsys.models.registry import config_of, declare_families, family_of
from recsys.models.testing import promises_of
from recsys.synthetic import simulate
from training.config import load_config
from training.pipeline import nightly
from training.search.space import start_of, validated

OWN_FAMILY = '''
"""Items by how often they are touched."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from recsys.models.family import ModelFamily
from recsys.models.protocol import Contribution
from recsys.models.scoring.group_scores import RankedScorer
from recsys.models.scoring.saved_arrays import array_of
from recsys.models.scoring.top_n import top_n


class SalesConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    prior: float = 0.0


@dataclass(frozen=True)
class SalesModel:
    stores_user_data: ClassVar[bool] = False

    scores: np.ndarray

    def condition(self, queries):
        ranking = top_n(self.scores, len(self.scores)).numbers
        why = (Contribution("everybody", 1.0),)
        return RankedScorer(self.scores, ranking, n_rows=len(queries), contributions=why)

    def arrays(self):
        return {"scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays):
        return cls(array_of(arrays, "scores", dimensions=1))


def fit_sales(data, config, *, rng):
    sales = np.bincount(
        data.popularity.items, weights=data.popularity.counts, minlength=len(data.items)
    ) + config.prior
    return SalesModel(np.where(sales > 0, sales, np.nan).astype(np.float32))


FAMILY = ModelFamily(
    config=SalesConfig,
    fit=fit_sales,
    model=SalesModel,
    level="everybody",
    labels={"en": "sold most of all"},
    reason="popular",
)
'''
PATH = "my_shop_sales:FAMILY"
MODELS = {
    "popularity": {},
    "repeat": {},
    "random_walk": {},
    "my_sales": {"family": PATH, "prior": 0.5},
}
PLACEMENTS = [
    {"name": "for_you", "blend": {"repeat": 0.5, "random_walk": 0.4, "my_sales": 0.1}},
    {"name": "best_sellers", "blend": {"my_sales": 1.0}},
]


@pytest.fixture
def own_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of the family where Python finds it, here and in processes started from here."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "my_shop_sales.py").write_text(OWN_FAMILY)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.delitem(sys.modules, "my_shop_sales", raising=False)
    monkeypatch.setattr(registry, "_declared", {})
    return PATH


@pytest.fixture
def recipe_file(own_family: str, tmp_path: Path) -> Path:
    """A training configuration that names the family."""
    path = tmp_path / "training.yaml"
    content = {
        "workspace": str(tmp_path / "ws"),
        "recipe": {
            "models": MODELS,
            "placements": PLACEMENTS,
            "blend_search": {"sweeps": 1, "placements": ["for_you"]},
        },
        "split": {"test_days": 14, "validation_days": 14},
        "evaluation": {"resamples": 100},
        "gate": {"resamples": 100},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_family_of_the_shops_own_is_trained_gated_published_and_served(
    own_family: str, recipe_file: Path, small_shop, tmp_path: Path
) -> None:
    events = [
        event
        for batch in simulate(small_shop.shop, days=60, rng=np.random.default_rng(12))
        for event in batch
    ]
    files = tmp_path / "files"
    files.mkdir()
    for name, records in (("items", small_shop.shop.items), ("events", events)):
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        (files / f"{name}.jsonl").write_bytes(lines)
    config = load_config(recipe_file)
    outcome = nightly.run(config, console=Console(quiet=True), started=small_shop.end, data=files)
    assert outcome.promoted
    publication = read_publication(tmp_path / "ws" / "published")
    assert publication is not None
    directory = bundle_directory(tmp_path / "ws" / "published", publication.champion.model_version)
    assert read_manifest(directory).families == {"my_sales": own_family}

    settings = tmp_path / "serving.yaml"
    settings.write_text(f'families: {{my_sales: "{own_family}"}}\n')
    service = Service.start(tmp_path / "ws", workers=1, config=settings)
    try:
        with service.client() as client:
            answer = client.recommend({}, [{"placement": "best_sellers", "k": 5}], explain=True)
    finally:
        service.kill_everything()
    shown = answer.placements[0]
    assert shown.level == "everybody"
    assert {item.source for item in shown.items} == {"my_sales"}
    assert {item.source_text for item in shown.items} == {"sold most of all"}


def test_the_contract_suite_runs_on_it_in_one_line(own_family: str, tmp_path: Path) -> None:
    file = tmp_path / "test_my_sales.py"
    file.write_text(
        "from my_shop_sales import FAMILY\n"
        "from recsys.models.testing import contract\n\n"
        "test_contract = contract(FAMILY)\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert f"{len(promises_of(family_named(own_family)))} passed" in run.stdout


def family_named(path: str) -> ModelFamily:
    declare_families({"my_sales": path})
    return family_of("my_sales")


def own_bundle(bundle: Bundle, path: str) -> Bundle:
    """A bundle with a model of the family."""
    model = family_named(path).model(np.arange(len(bundle.items), dtype=np.float32) + 1)
    placement = Placement(name="best_sellers", blend={"my_sales": 1.0}, fallback=())
    return replace(
        bundle, models={"my_sales": model}, placements={"best_sellers": placement}, rankers={}
    )


def test_a_bundle_never_makes_the_service_import_what_its_configuration_does_not_name(
    own_family: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = save_bundle(own_bundle(bundle, own_family), tmp_path / "bundle")
    assert set(load_bundle(directory).models) == {"my_sales"}
    monkeypatch.setattr(registry, "_declared", {})
    monkeypatch.delitem(sys.modules, "my_shop_sales")
    with pytest.raises(BundleError, match=r"'my_sales'.*my_shop_sales:FAMILY.*`families`"):
        load_bundle(directory)
    assert "my_shop_sales" not in sys.modules


def test_a_bundle_that_was_trained_with_another_family_of_that_name_is_refused(
    own_family: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = save_bundle(own_bundle(bundle, own_family), tmp_path / "bundle")
    monkeypatch.setattr(registry, "_declared", {})
    (tmp_path / "outside" / "my_newer_sales.py").write_text(OWN_FAMILY)
    declare_families({"my_sales": "my_newer_sales:FAMILY"})
    with pytest.raises(BundleError, match="my_newer_sales:FAMILY here; it was trained as"):
        load_bundle(directory)


def test_an_installed_package_brings_its_families_by_entry_point(
    own_family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    information = tmp_path / "outside" / "my_shop-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-shop\nVersion: 1\n")
    (information / "entry_points.txt").write_text(f"[recsys.models]\nby_sales = {own_family}\n")
    registry._installed.cache_clear()
    try:
        assert family_of("by_sales").labels == {"en": "sold most of all"}
        assert config_of("by_sales", {"prior": 2.0}).model_dump() == {"prior": 2.0}
        assert "by_sales" in registry.families()
    finally:
        registry._installed.cache_clear()


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"als": {"embeding_size": 8}}, "models.als.embeding_size is 8.*mean embedding_size?"),
        ({"als": {"reg": -1}}, "models.als.reg is -1"),
        ({"alss": {}}, "models.alss is 'alss'.*did you mean als?"),
        ({"my_sales": {"family": PATH, "priour": 1}}, "my_sales has no such setting.*mean prior?"),
        (
            {"mine": {"family": "my_shop_sales:NOTHING"}},
            "models.mine.family.*my_shop_sales:NOTHING",
        ),
        ({"mine": {"family": "my_shop_sales:SalesModel"}}, "models.mine.family.*no ModelFamily"),
        ({"als": {"family": PATH}}, "models.als.family.*one of this package"),
    ],
)
def test_a_mistake_in_a_recipe_is_answered_with_the_family_and_the_nearest_name(
    own_family: str, tmp_path: Path, models: dict[str, object], message: str
) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump({"recipe": {"models": models}}))
    with pytest.raises(InvalidConfig, match=message):
        load_config(path)


def test_a_broken_entry_point_is_refused_when_a_process_starts(
    own_family: str, tmp_path: Path
) -> None:
    information = tmp_path / "outside" / "broken-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (information / "entry_points.txt").write_text(
        "[recsys.models]\nbroken = my_shop_sales:NOTHING\n"
    )
    registry._installed.cache_clear()
    try:
        with pytest.raises(InvalidConfig, match=r"models\.broken\.family"):
            declare_families({})
    finally:
        registry._installed.cache_clear()


def test_a_name_stands_for_one_family_in_a_process(own_family: str) -> None:
    declare_families({"my_sales": own_family})
    declare_families({"my_sales": own_family})
    with pytest.raises(InvalidConfig, match="give another name"):
        declare_families({"my_sales": "my_newer_sales:FAMILY"})


def test_a_search_keeps_the_path_beside_the_settings_that_it_changes(own_family: str) -> None:
    settings = {"family": own_family, "prior": 2.0}
    assert validated("my_sales", settings) == settings
    assert validated("my_sales", {"family": own_family, "prior": 0.0}) == {"family": own_family}
    assert start_of("my_sales", settings) == {}
