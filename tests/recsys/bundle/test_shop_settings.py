"""A shop's own placements and segments over a trained bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import DEFAULT_PLACEMENTS, Placement, served_by
from recsys.bundle.shop_settings import PlacementsConfig, SegmentsConfig, ShopSettings, changed

ROOT = Path(__file__).resolve().parents[3]
CHOSEN = Placement(name="for_you", blend={"als": 0.7, "popularity": 0.3})
MODELS_THERE = {"als", "popularity", "trending", "refill"}


def over(*placements: dict[str, object]) -> tuple[dict[str, Placement], tuple[str, ...]]:
    config = PlacementsConfig.model_validate({"placements": placements})
    return changed({"for_you": CHOSEN}, config.placements, MODELS_THERE)


def test_weights_that_training_chose_stay_unless_the_file_gives_them() -> None:
    known, refused = over({"name": "for_you", "repeats": "when_due"})
    assert refused == ()
    assert known["for_you"] == CHOSEN.model_copy(update={"repeats": "when_due"})
    known, _ = over({"name": "for_you", "blend": {"trending": 1.0}})
    assert known["for_you"].blend == {"trending": 1.0}


def test_a_new_placement_starts_from_the_default_of_its_name() -> None:
    known, refused = over({"name": "buy_again", "fallback": []})
    assert refused == ()
    default = next(entry for entry in DEFAULT_PLACEMENTS if entry.name == "buy_again")
    assert known["buy_again"] == default.model_copy(update={"fallback": ()})
    known, refused = over({"name": "winners", "blend": {"trending": 1.0}, "candidates": 30})
    assert refused == ()
    assert known["winners"] == Placement(name="winners", blend={"trending": 1.0}, candidates=30)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "for_you", "blend": {"ease": 1.0}}, "'ease'"),
        ({"name": "similar"}, "none of its models"),
        ({"name": "winners"}, "has no blend"),
        ({"name": "winners", "blend": {"ease": 1.0}}, "'ease'"),
    ],
)
def test_what_the_bundle_cannot_serve_is_left_as_it_was_and_named(
    change: dict[str, object], message: str
) -> None:
    known, refused = over(change, {"name": "trending"})
    assert len(refused) == 1
    assert message in refused[0]
    assert known["for_you"] == CHOSEN
    assert set(known) == {"for_you", "trending"}


@pytest.mark.parametrize(
    "content",
    [
        {"placements": [{"name": "a", "blend": {"als": 1}, "colour": "red"}]},
        {"placements": [{"name": "a"}, {"name": "a"}]},
        {"placements": [{"name": "a", "repeats": "sometimes"}]},
        {"placements": [{"name": "a", "fatigue": {"times": 0}}]},
        {"placements": [{"name": "a", "exploration": {"share": 0.9}}]},
        {"placement": []},
    ],
)
def test_a_bad_file_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PlacementsConfig.model_validate(content)


def test_the_shipped_placements_change_every_default(bundle: Bundle) -> None:
    content = yaml.safe_load((ROOT / "configs" / "placements.yaml").read_text())
    config = PlacementsConfig.model_validate(content)
    settings = ShopSettings(placements=config)
    changed_bundle, left_out = settings.over(bundle)
    assert left_out == ()
    assert set(changed_bundle.placements) == {default.name for default in DEFAULT_PLACEMENTS}
    exploring = changed_bundle.placements["for_you"]
    assert exploring.exploration is not None
    assert exploring.exploration.share == 0.05
    assert exploring.fatigue is not None
    assert exploring.blend == bundle.placements["for_you"].blend


def test_the_shops_segments_stand_in_place_of_the_bundles(bundle: Bundle) -> None:
    mobile = SegmentsConfig.model_validate({"segments": [{"name": "mobile", "device": ["mobile"]}]})
    changed_bundle, _ = ShopSettings(segments=mobile).over(bundle)
    assert [segment.name for segment in changed_bundle.segments] == ["mobile"]
    same, left_out = ShopSettings().over(bundle)
    assert same is bundle
    assert left_out == ()


def test_a_placement_keeps_the_models_that_are_there() -> None:
    wanted = [Placement(name="a", blend={"als": 1.0, "ease": 2.0}), CHOSEN]
    kept = list(served_by([*wanted, Placement(name="b", blend={"ease": 1.0})], MODELS_THERE))
    assert [placement.blend for placement in kept] == [{"als": 1.0}, CHOSEN.blend]
