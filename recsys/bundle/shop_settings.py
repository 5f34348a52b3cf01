"""What a shop sets over a trained bundle, without training: its placements and its segments."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import DEFAULT_PLACEMENTS, Placement, served_by
from recsys.query.segments import Segment

Named = TypeVar("Named", "PlacementChange", Segment)

DEFAULTS: Final[Mapping[str, Placement]] = {one.name: one for one in DEFAULT_PLACEMENTS}


class PlacementChange(Placement):
    """A placement as a shop writes it: what it names replaces that of the placement of its name,
    what it leaves out stays, weights that training has chosen among it."""

    blend: dict[str, float] = Field(default_factory=dict)

    def over(self, placement: Placement) -> Placement:
        """The placement with what is named here instead."""
        named = {name: getattr(self, name) for name in self.model_fields_set}
        return Placement.model_validate({**dict(placement), **named})


class PlacementsConfig(BaseModel):
    """`configs/placements.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    placements: tuple[PlacementChange, ...] = ()

    @field_validator("placements")
    @classmethod
    def _each_once(cls, changes: tuple[PlacementChange, ...]) -> tuple[PlacementChange, ...]:
        return _with_distinct_names("placement", changes)


class SegmentsConfig(BaseModel):
    """`configs/segments.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    segments: tuple[Segment, ...] = ()

    @field_validator("segments")
    @classmethod
    def _each_once(cls, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        return _with_distinct_names("segment", segments)


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """The content of both files; None where there is no file and the bundle's own holds."""

    placements: PlacementsConfig | None = None
    segments: SegmentsConfig | None = None

    def over(self, bundle: Bundle) -> tuple[Bundle, tuple[str, ...]]:
        """The bundle under these settings, and which placements are left out for want of models."""
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

    A new placement starts from the default of its name, without the models that are not there. A
    change whose blend names a model that is not there leaves its placement as it was.
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
    names = [one.name for one in named]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} {name!r} stands there twice; write it once")
    return named
