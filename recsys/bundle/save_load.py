"""A bundle as a directory of plain arrays and JSON: written atomically, checked when loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from recsys.atomic_files import atomic_path
from recsys.bundle.array_files import mapped_arrays, sha256, write_array, write_arrays
from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest, read_manifest, verify_files
from recsys.bundle.placements import Placement
from recsys.bundle.social_proof import SocialProof
from recsys.catalog.items import Catalog, Item
from recsys.errors import BundleError
from recsys.events.weighting import Weighting
from recsys.ids import Vocabulary
from recsys.models.protocol import Model
from recsys.models.registry import known_family
from recsys.ranking.features import ItemFacts
from recsys.ranking.ranker import Ranker


class _Settings(msgspec.Struct, frozen=True):
    weighting: dict[str, Any]
    placements: list[dict[str, Any]]


class _RankerSettings(msgspec.Struct, frozen=True):
    models: tuple[str, ...]
    candidates: int
    scales: tuple[float, ...]


def save_bundle(bundle: Bundle, directory: Path) -> Path:
    """Writes the bundle durably in one step, so that a directory is complete or missing.

    Returns the directory; BundleError where it exists already (a version is never rewritten).
    """
    if directory.exists():
        raise BundleError(f"Bundle {directory} exists already; a version is written once.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(directory) as draft:
        draft.mkdir()
        (draft / "settings.json").write_bytes(
            _encode(
                _Settings(
                    bundle.weighting.model_dump(mode="json"),
                    [placement.model_dump(mode="json") for placement in bundle.placements.values()],
                )
            )
        )
        (draft / "items.json").write_bytes(_encode(bundle.items.ids()))
        (draft / "catalog.jsonl").write_bytes(
            b"".join(_encode(item) + b"\n" for item in bundle.catalog.items)
        )
        if bundle.social_proof is not None:
            write_arrays(draft / "social_proof", bundle.social_proof.arrays())
        if bundle.first_seen is not None:
            write_array(draft / "first_seen.npy", bundle.first_seen)
        for name, model in bundle.models.items():
            write_arrays(draft / "models" / name, model.arrays())
        for name, ranker in bundle.rankers.items():
            folder = draft / "rankers" / name
            write_arrays(folder, ranker.facts.arrays())
            for number, text in enumerate(ranker.texts):
                (folder / f"model_{number}.txt").write_bytes(text.encode())
            settings = _RankerSettings(ranker.models, ranker.candidates, ranker.scales)
            (folder / "settings.json").write_bytes(_encode(settings))
        files = {
            str(path.relative_to(draft)): sha256(path)
            for path in sorted(draft.rglob("*"))
            if path.is_file()
        }
        private = tuple(name for name, m in bundle.models.items() if m.stores_user_data)
        manifest = msgspec.structs.replace(
            bundle.manifest, files=files, private_models=private, families=_foreign(bundle.models)
        )
        (draft / "manifest.json").write_bytes(msgspec.json.format(_encode(manifest), indent=1))
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
    """The bundle in a directory that may lack private models (`Manifest.private_models`).

    Placements lose the weights of the missing models, and rankers that use one are left out. Every
    other file is verified. BundleError as from `load_bundle`, and where a placement has no model
    left.
    """
    manifest = read_manifest(directory)
    absent = frozenset(
        name for name in manifest.private_models if not (directory / "models" / name).is_dir()
    )
    missing = msgspec.structs.replace(manifest, private_models=tuple(sorted(absent)))
    public = {
        name: digest for name, digest in manifest.files.items() if not missing.is_private(name)
    }
    verify_files(directory, msgspec.structs.replace(manifest, files=public))
    return _load(directory, manifest, absent=absent)


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
            folder.name: _load_model(folder, manifest)
            for folder in sorted((directory / "models").iterdir())
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


def _load_model(folder: Path, manifest: Manifest) -> Model:
    """The model of a family that this process knows; a path in the manifest is never imported."""
    name = folder.name
    family = known_family(name)
    trained_as = manifest.families.get(name, "")
    if family is None or family.path != trained_as:
        known_as = "is not known here" if family is None else f"is {family.path or 'our own'} here"
        remedy = (
            f"it was trained as {trained_as}: name that under `families` of the configuration (in "
            "Python: recsys.models.registry.declare_families), or install the package that has it"
            if trained_as
            else "train again with this code"
        )
        raise BundleError(f"Bundle has a model {name!r}, a family that {known_as}; {remedy}.")
    model: Model = family.model.from_arrays(mapped_arrays(folder))
    return model


def _foreign(models: Iterable[str]) -> dict[str, str]:
    """Name → path of the models whose families are the shop's own."""
    known = {name: known_family(name) for name in models}
    return {name: family.path for name, family in known.items() if family and family.path}


def _without_models(placement: Placement, absent: frozenset[str], manifest: Manifest) -> Placement:
    """The placement without the absent models; the other weights stay as they are."""
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
            (folder / f"model_{number}.txt").read_text(encoding="utf-8")
            for number in range(len(settings.scales))
        ],
        settings.scales,
        models=settings.models,
        candidates=settings.candidates,
        facts=facts,
    )


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value)
