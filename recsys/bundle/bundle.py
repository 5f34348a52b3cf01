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

The models that the manifest names in `kept_local` store rows of customers: their files stay in the
directory that serves. A copy for other eyes lacks them (`public_files`, `load_public_bundle`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Placement
from recsys.bundle.social_proof import SocialProof
from recsys.catalog.items import Catalog
from recsys.events.pseudonyms import Pseudonyms
from recsys.events.schema import KIND_NUMBER
from recsys.events.weighting import Weighting
from recsys.ids import Mask, Numbers, Vocabulary
from recsys.models.popularity.segment_popularity import SegmentPopularityModel
from recsys.models.protocol import Model
from recsys.models.scoring.personal_rows import StoresPeople
from recsys.query.feedback import feedback_state
from recsys.query.history import History, StoredEvent
from recsys.query.segments import Segment
from recsys.ranking.ranker import Ranker

FEEDBACK: Final = KIND_NUMBER["feedback"]


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
    """What may be said to everybody of each item; None in a bundle that was not asked to count."""
    segment_rules: tuple[Segment, ...] | None = None
    """The shop's own segments in place of those that the models know (`segments`)."""
    first_seen: NDArray[np.float64] | None = field(default=None, compare=False)
    """Per item when anybody first touched it, epoch seconds: NaN where nobody has, −inf where the
    log begins too late to tell. None in a bundle that does not know."""
    directory: Path | None = field(default=None, compare=False)

    @property
    def model_version(self) -> str:
        """The version that answers carry."""
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

    def history(self, events: Sequence[StoredEvent], *, now: datetime) -> History:
        """Stored events (oldest first) as a History; items that the bundle does not know left out.

        A like that still holds (`recsys.query.feedback`) is an event; a refused item leaves
        nothing in the history, as in training.

        The weights are those that training gave the same events (`Weighting`), seen from the
        bundle's `as_of` or from the newest event, whichever is later: a bundle that has waited
        weighs a history as on the day it was made.
        """
        numbers = self.items.numbers([event.item_id for event in events])
        kinds = np.array([KIND_NUMBER[event.kind] for event in events], np.int8)
        times = np.array([event.time for event in events], np.float64)
        known = numbers >= 0
        spoken = kinds == FEEDBACK
        if spoken.any():
            known &= self._taken_seriously(events, numbers, spoken, now)
        if not known.all():
            numbers, kinds, times = numbers[known], kinds[known], times[known]
        seen_from = max(self.manifest.as_of.timestamp(), times.max(initial=-np.inf))
        weights = self.weighting.weights(kinds, times, now=min(seen_from, now.timestamp()))
        return History(numbers, kinds, times, weights)

    def _taken_seriously(
        self, events: Sequence[StoredEvent], numbers: Numbers, spoken: Mask, now: datetime
    ) -> Mask:
        """Rows that are neither of a disliked item nor feedback, but for the newest like of an
        item that is liked."""
        said = feedback_state(events, now=now)
        liked = spoken & np.isin(numbers, self.items.known(sorted(said.liked)))
        newest = {int(numbers[place]): place for place in np.flatnonzero(liked).tolist()}
        kept = ~spoken
        kept[list(newest.values())] = True
        if said.disliked:
            kept &= ~np.isin(numbers, self.items.known(sorted(said.disliked)))
        return kept

    def without(self, owners: Pseudonyms) -> Bundle:
        """The bundle without any stored row of these owners; itself where it has none."""
        kept = {
            name: model.without(owners) if isinstance(model, StoresPeople) else model
            for name, model in self.models.items()
        }
        if all(kept[name] is model for name, model in self.models.items()):
            return self
        return replace(self, models=kept)
