"""`Bundle`: all that a service needs in one directory. Plain arrays and JSON, never pickle.

<directory>/
  manifest.json            schema, versions, as_of, report summary, SHA-256 of every other file
  settings.json            weighting and placements
  items.json               item ids in row order
  catalog.jsonl            one item a line, in row order
  first_seen.npy           when each item was first touched, where that is known
  social_proof/<array>.npy how many customers bought and rated each item
  models/<name>/<array>.npy
  rankers/<placement>/     settings.json, model_<n>.txt (LightGBM's text), <array>.npy

Private models (`Manifest.private_models`) store rows of customers: their files stay in the
directory that serves. A copy for anybody else lacks them (`public_files`, `load_public_bundle`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Placement
from recsys.bundle.social_proof import SocialProof
from recsys.catalog.items import Catalog
from recsys.events.pseudonyms import Pseudonyms
from recsys.events.weighting import Weighting
from recsys.ids import Vocabulary
from recsys.models.popularity.segment_popularity import SegmentPopularityModel
from recsys.models.protocol import Model
from recsys.models.scoring.personal_rows import StoresUserData
from recsys.query.builder import QuerySettings
from recsys.query.facts import SESSION_GAP
from recsys.query.segments import Segment
from recsys.ranking.ranker import Ranker


@dataclass(frozen=True, slots=True)
class Bundle:
    """One trained version: vocabulary, catalogue, models and settings that belong together."""

    manifest: Manifest
    items: Vocabulary
    catalog: Catalog
    models: Mapping[str, Model]
    placements: Mapping[str, Placement]
    weighting: Weighting
    rankers: Mapping[str, Ranker] = field(default_factory=dict)
    """Placement name → the ranker of its candidates; a placement without one keeps its blend."""
    social_proof: SocialProof | None = field(default=None, compare=False)
    """Purchase and rating counts that may be shown to everybody; None where not counted."""
    segment_rules: tuple[Segment, ...] | None = None
    """The shop's own segments, in place of those that the models were fitted with (`segments`)."""
    first_seen: NDArray[np.float64] | None = field(default=None, compare=False)
    """Per item the time of its first event, epoch seconds: NaN without one, −inf where the log
    begins too late to know. None in a bundle without these times."""
    directory: Path | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return (
            f"Bundle({self.model_version!r}, {len(self.items):,} items, "
            f"{len(self.models)} models, {len(self.placements)} placements)"
        )

    @property
    def model_version(self) -> str:
        """The version, as answers name it."""
        return self.manifest.model_version

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The rules of the segments in force."""
        if self.segment_rules is not None:
            return self.segment_rules
        model = self.models.get("popularity_by_segment")
        return model.segments if isinstance(model, SegmentPopularityModel) else ()

    def placement(self, name: str) -> Placement | None:
        """The placement of that name, or None."""
        return self.placements.get(name)

    def query_settings(self, *, session_gap: timedelta = SESSION_GAP) -> QuerySettings:
        """What every query of this bundle is built with."""
        return QuerySettings(
            items=self.items,
            weighting=self.weighting,
            weighed_at=self.manifest.as_of,
            segments=self.segments,
            counts_impressions=any(
                placement.fatigue is not None for placement in self.placements.values()
            ),
            session_gap=session_gap,
        )

    def drop_users(self, users: Pseudonyms) -> Bundle:
        """The bundle without any stored row of these users; itself where it has none."""
        kept = {
            name: model.drop_users(users) if isinstance(model, StoresUserData) else model
            for name, model in self.models.items()
        }
        if all(kept[name] is model for name, model in self.models.items()):
            return self
        return replace(self, models=kept)
