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

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from recsys.bundle.array_files import (
    mapped_arrays,
    sha256,
    sync_folder,
    write_array,
    write_arrays,
    write_file,
)
from recsys.bundle.placements import Placement
from recsys.bundle.social_proof import SocialProof
from recsys.catalog.items import Catalog, Item
from recsys.errors import BundleError
from recsys.events.pseudonyms import Owners
from recsys.events.schema import KIND_NUMBER
from recsys.events.weighting import Weighting
from recsys.ids import Numbers, Vocabulary
from recsys.models import MODELS
from recsys.models.popularity.segment_popularity import SegmentPopularityModel
from recsys.models.scoring.personal_rows import StoresPeople
from recsys.query.feedback import heard
from recsys.query.query import History, Mask, Model
from recsys.query.segments import Segment
from recsys.ranking.features import ItemFacts
from recsys.ranking.ranker import Ranker
from recsys.store import StoredEvent

SCHEMA_VERSION: Final = 1
FEEDBACK: Final = KIND_NUMBER["feedback"]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle says of itself. `files` maps each path in it to its SHA-256."""

    model_version: str
    as_of: datetime
    window_from: datetime
    config_digest: str
    code_revision: str
    data_fingerprint: str = ""
    synthetic: bool = False
    report: dict[str, float] = {}
    schema_version: int = SCHEMA_VERSION
    files: dict[str, str] = {}
    kept_local: tuple[str, ...] = ()
    """The models that store rows of customers, whose files never leave the shop's own disk."""

    def is_local(self, file: str) -> bool:
        """Whether a file of the bundle belongs to one of those models."""
        return any(file.startswith(f"models/{name}/") for name in self.kept_local)


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
        said = heard(events, now=now)
        liked = spoken & np.isin(numbers, self.items.known(sorted(said.liked)))
        newest = {int(numbers[place]): place for place in np.flatnonzero(liked).tolist()}
        kept = ~spoken
        kept[list(newest.values())] = True
        if said.disliked:
            kept &= ~np.isin(numbers, self.items.known(sorted(said.disliked)))
        return kept

    def without(self, owners: Owners) -> Bundle:
        """The bundle without any stored row of these owners; itself where it has none."""
        kept = {
            name: model.without(owners) if isinstance(model, StoresPeople) else model
            for name, model in self.models.items()
        }
        if all(kept[name] is model for name, model in self.models.items()):
            return self
        return replace(self, models=kept)


class _Settings(msgspec.Struct, frozen=True):
    weighting: dict[str, Any]
    placements: list[dict[str, Any]]


class _RankerSettings(msgspec.Struct, frozen=True):
    models: tuple[str, ...]
    candidates: int
    scales: tuple[float, ...]


def save_bundle(bundle: Bundle, directory: Path) -> Path:
    """Writes the bundle: beside, synced, then renamed, so that a directory is whole or not there.

    Gives the directory; BundleError where it exists already (a version is never rewritten).
    """
    if directory.exists():
        raise BundleError(f"Bundle {directory} exists already; a version is written once.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = directory.with_name(f".{directory.name}.{os.getpid()}.writing")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        write_file(
            beside / "settings.json",
            _encode(
                _Settings(
                    bundle.weighting.model_dump(mode="json"),
                    [placement.model_dump(mode="json") for placement in bundle.placements.values()],
                )
            ),
        )
        write_file(beside / "items.json", _encode(bundle.items.ids()))
        write_file(
            beside / "catalog.jsonl",
            b"".join(_encode(item) + b"\n" for item in bundle.catalog.items),
        )
        if bundle.social_proof is not None:
            write_arrays(beside / "social_proof", bundle.social_proof.arrays())
        if bundle.first_seen is not None:
            write_array(beside / "first_seen.npy", bundle.first_seen)
        for name, model in bundle.models.items():
            write_arrays(beside / "models" / name, model.arrays())
        for name, ranker in bundle.rankers.items():
            folder = beside / "rankers" / name
            write_arrays(folder, ranker.facts.arrays())
            for place, text in enumerate(ranker.texts):
                write_file(folder / f"model_{place}.txt", text.encode())
            settings = _RankerSettings(ranker.models, ranker.candidates, ranker.scales)
            write_file(folder / "settings.json", _encode(settings))
        files = {
            str(path.relative_to(beside)): sha256(path)
            for path in sorted(beside.rglob("*"))
            if path.is_file()
        }
        local = tuple(name for name, m in bundle.models.items() if m.holds_personal_rows)
        manifest = msgspec.structs.replace(bundle.manifest, files=files, kept_local=local)
        write_file(beside / "manifest.json", msgspec.json.format(_encode(manifest), indent=1))
        beside.replace(directory)
        sync_folder(directory.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return directory


def load_bundle(directory: Path, *, verify: bool = True) -> Bundle:
    """The bundle in a directory, its arrays memory-mapped and read-only.

    With `verify` each file's SHA-256 is checked first. BundleError where anything is missing,
    damaged, of another schema, or names a model family that this code does not have.
    """
    manifest = read_manifest(directory)
    if verify:
        verify_files(directory, manifest)
    return _load(directory, manifest)


def load_public_bundle(directory: Path) -> Bundle:
    """The bundle in a directory that may lack the models of `kept_local`: without those that it
    lacks, without their weight, and without the rankers that look at them. Every file is verified.

    `Manifest.kept_local` and the models tell what is left out. BundleError as `load_bundle` raises
    it, and where a placement has no model left.
    """
    manifest = read_manifest(directory)
    there = [name for name in manifest.kept_local if (directory / "models" / name).is_dir()]
    absent = frozenset(manifest.kept_local) - frozenset(there)
    local = msgspec.structs.replace(manifest, kept_local=tuple(sorted(absent)))
    public = {name: digest for name, digest in manifest.files.items() if not local.is_local(name)}
    verify_files(directory, msgspec.structs.replace(manifest, files=public))
    return _load(directory, manifest, absent=absent)


def public_files(directory: Path) -> Iterator[str]:
    """The files of a bundle directory that may be shown elsewhere, its manifest among them."""
    manifest = read_manifest(directory)
    yield "manifest.json"
    yield from (name for name in manifest.files if not manifest.is_local(name))


def _load(directory: Path, manifest: Manifest, *, absent: frozenset[str] = frozenset()) -> Bundle:
    try:
        settings = msgspec.json.decode((directory / "settings.json").read_bytes(), type=_Settings)
        items = Vocabulary(
            msgspec.json.decode((directory / "items.json").read_bytes(), type=list[str])
        )
        lines = (directory / "catalog.jsonl").read_bytes().splitlines()
        decoder = msgspec.json.Decoder(Item)
        catalog = Catalog.of([decoder.decode(line) for line in lines], items)
        placements = [
            _without_models(Placement.model_validate(fields), absent, manifest)
            for fields in settings.placements
        ]
        weighting = Weighting.model_validate(settings.weighting)
        first_seen = mapped_arrays(directory).get("first_seen")
        if first_seen is not None and first_seen.shape != (len(items),):
            raise BundleError(f"Bundle {directory}: first_seen.npy is misshapen; train again.")
        counted = mapped_arrays(directory / "social_proof")
        social_proof = SocialProof.from_arrays(counted, n_items=len(items)) if counted else None
        models = {
            folder.name: _load_model(folder) for folder in sorted((directory / "models").iterdir())
        }
        rankers = {
            folder.name: _load_ranker(folder, models, len(items))
            for folder in sorted((directory / "rankers").glob("*"))
            if not absent & _ranked_models(folder)
        }
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise BundleError(f"Bundle {directory} cannot be read: {error}") from error
    return Bundle(
        manifest=manifest,
        items=items,
        catalog=catalog,
        models=models,
        placements={placement.name: placement for placement in placements},
        weighting=weighting,
        rankers=rankers,
        social_proof=social_proof,
        first_seen=first_seen,
        directory=directory,
    )


def read_manifest(directory: Path) -> Manifest:
    """The manifest alone; BundleError where it is missing, damaged or of another schema."""
    try:
        raw = (directory / "manifest.json").read_bytes()
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"Bundle {directory} has no readable manifest.json: {error}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise BundleError(
            f"Bundle {directory} has schema version {manifest.schema_version}; this code reads "
            f"{SCHEMA_VERSION}. Train again with this code."
        )
    return manifest


def verify_files(directory: Path, manifest: Manifest) -> None:
    """BundleError where a file is missing, added or differs from its SHA-256 in the manifest."""
    present = {
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    } - {"manifest.json"}
    if any(manifest.is_local(name) for name in set(manifest.files) - present):
        raise BundleError(
            f"Bundle {directory} lacks files of {', '.join(manifest.kept_local)}: they store rows "
            "of customers, which are kept below `published` of the workspace that trained them. "
            "Take the bundle from there, or train again."
        )
    if present != set(manifest.files):
        odd = sorted(present ^ set(manifest.files))
        raise BundleError(f"Bundle {directory}: files missing or not in the manifest: {odd[:5]}")
    for name, digest in manifest.files.items():
        if sha256(directory / name) != digest:
            raise BundleError(f"Bundle {directory}: {name} is damaged (its SHA-256 differs).")


def _load_model(folder: Path) -> Model:
    family = MODELS.get(folder.name)
    if family is None:
        raise BundleError(f"Bundle has a model {folder.name!r} that this code does not know.")
    model: Model = family.model.from_arrays(mapped_arrays(folder))
    return model


def _without_models(placement: Placement, absent: frozenset[str], manifest: Manifest) -> Placement:
    """The placement with the other models' weights as they are."""
    if not absent:
        return placement
    blend = {name: weight for name, weight in placement.blend.items() if name not in absent}
    strangers = {n: weight for n, weight in placement.stranger_blend.items() if n not in absent}
    if not any(weight > 0 for weight in blend.values()):
        raise BundleError(
            f"Placement {placement.name!r} of bundle {manifest.model_version} is left without a "
            f"model: {', '.join(sorted(absent))} are kept in the workspace that trained it."
        )
    return placement.model_copy(update={"blend": blend, "stranger_blend": strangers})


def _ranked_models(folder: Path) -> frozenset[str]:
    content = (folder / "settings.json").read_bytes()
    return frozenset(msgspec.json.decode(content, type=_RankerSettings).models)


def _load_ranker(folder: Path, models: Mapping[str, Model], n_items: int) -> Ranker:
    settings = msgspec.json.decode((folder / "settings.json").read_bytes(), type=_RankerSettings)
    missing = [name for name in settings.models if name not in models]
    facts = ItemFacts.from_arrays(mapped_arrays(folder))
    if missing or len(facts.prices) != n_items:
        raise BundleError(
            f"The ranker {folder.name!r} knows {len(facts.prices)} items of {n_items} and asks for "
            f"models that the bundle lacks: {missing}; train again."
        )
    return Ranker.of(
        [
            (folder / f"model_{place}.txt").read_text(encoding="utf-8")
            for place in range(len(settings.scales))
        ],
        settings.scales,
        models=settings.models,
        candidates=settings.candidates,
        facts=facts,
    )


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value)
