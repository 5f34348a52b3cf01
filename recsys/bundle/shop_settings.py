"""Settings that a shop changes without training: its placements and its segments."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import DEFAULT_PLACEMENTS, Placement, served_by
from recsys.query.segments import Segment

Named = TypeVar("Named", "PlacementChange", Segment)

DEFAULTS: Final[Mapping[str, Placement]] = {
    placement.name: placement for placement in DEFAULT_PLACEMENTS
}


class PlacementChange(Placement):
    """A placement as a shop writes it in `configs/placements.yaml`.

    Its keys replace those of the bundle's placement of that name; keys that it leaves out stay,
    fitted weights among them.
    """

    blend: dict[str, float] = Field(default_factory=dict)

    def over(self, placement: Placement) -> Placement:
        """The placement with the keys of this change."""
        named = {name: getattr(self, name) for name in self.model_fields_set}
        return Placement.model_validate({**dict(placement), **named})


class PlacementsConfig(BaseModel):
    """`configs/placements.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    placements: tuple[PlacementChange, ...] = ()
    """Changes by placement name, and new placements."""

    @field_validator("placements")
    @classmethod
    def _each_once(cls, changes: tuple[PlacementChange, ...]) -> tuple[PlacementChange, ...]:
        return _with_distinct_names("placement", changes)


class SegmentsConfig(BaseModel):
    """`configs/segments.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    segments: tuple[Segment, ...] = ()
    """The shop's segments, in place of those of the bundle."""

    @field_validator("segments")
    @classmethod
    def _each_once(cls, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        return _with_distinct_names("segment", segments)


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """The content of both files; None where there is no file and the bundle's settings hold."""

    placements: PlacementsConfig | None = None
    segments: SegmentsConfig | None = None

    def over(self, bundle: Bundle) -> tuple[Bundle, tuple[str, ...]]:
        """The bundle with these settings, and a line for each change that could not be made."""
        left_out: tuple[str, ...] = ()
        if self.placements is not None:
            placements, left_out = changed(
                bundle.placements, self.placements.placements, bundle.models
            )
            bundle = replace(bundle, placements=placements)
        if self.segments is not None:
            bundle = replace(bundle, segment_rules=self.segments.segments)
        return bundle, left_out


def changed(
    placements: Mapping[str, Placement],
    changes: Sequence[PlacementChange],
    models: Container[str],
) -> tuple[dict[str, Placement], tuple[str, ...]]:
    """The placements under the changes, and a line for each change that could not be made.

    A new placement starts from the default of its name, without models that the bundle lacks. A
    change whose blend names a model that the bundle lacks is not made.
    """
    known = dict(placements)
    refused = []
    for change in changes:
        default = DEFAULTS.get(change.name)
        before = known.get(change.name) or next(
            served_by([] if default is None else [default], models), None
        )
        wanted = [name for name, weight in change.blend.items() if weight > 0]
        missing = [name for name in wanted if name not in models]
        if missing:
            refused.append(
                f"placement {change.name!r} is left as it was: its blend names {missing[0]!r}, "
                "which the bundle has not; train with it or take it out"
            )
        elif before is None and not wanted:
            refused.append(
                f"placement {change.name!r} is left out: the bundle has none of its models"
                if default is not None
                else f"placement {change.name!r} is left out: it is new and has no blend"
            )
        else:
            start = before or Placement(name=change.name, blend=change.blend)
            known[change.name] = change.over(start)
    return known, tuple(refused)


def _with_distinct_names(what: str, named: tuple[Named, ...]) -> tuple[Named, ...]:
    names = [entry.name for entry in named]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} {name!r} stands there twice; write it once")
    return named
