"""`TrainingSource`: events, catalogue, profiles and refusals of a shop, as of any moment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import duckdb

from recsys.catalog.items import Item
from recsys.dataset.splitting import HeldOut, hold_out
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.errors import InsufficientData
from recsys.evaluation.objectives import TAKING, Objective
from recsys.events.log import EventLog
from recsys.query.preferences import Preferences
from recsys.query.profile import Profile
from recsys.store.protocol import Store
from training.config import Recipe

_Key = tuple[datetime, str, float]


@dataclass(frozen=True, slots=True)
class TrainingSource:
    """A shop's data, opened once; training data of any moment are read from it.

    `newest` is the moment just after the newest event, which is the "now" of training: a shop
    whose events stopped is trained as of that day.
    """

    log: EventLog
    items: tuple[Item, ...]
    profiles: Mapping[str, Profile]
    denied: frozenset[str]
    oldest: datetime
    newest: datetime
    events: int
    fingerprint: str
    preferences: Mapping[str, Preferences] = field(default_factory=dict)
    """Profiles and preferences are those of today: the store keeps no past versions."""
    erased: int = 0
    """How many rows of erased persons left the log when it was read."""
    _read: dict[_Key, TrainingData] = field(default_factory=dict, compare=False, repr=False)

    @property
    def synthetic(self) -> bool:
        """Whether any item is marked as synthetic."""
        return any(item.attributes.get("synthetic") for item in self.items)

    def as_of(self, moment: datetime, recipe: Recipe) -> TrainingData:
        """What a model may learn from at that moment; read once for recipes that weigh alike."""
        key = (moment, recipe.weighting.model_dump_json(), recipe.window_days)
        if key not in self._read:
            self._read[key] = self.read_uncached(moment, recipe)
        return self._read[key]

    def read_uncached(self, moment: datetime, recipe: Recipe) -> TrainingData:
        """The same, but not kept."""
        return read_training_data(
            self.log,
            as_of=moment,
            weighting=recipe.weighting,
            catalog=self.items,
            profiles=self.profiles,
            preferences=self.preferences,
            denied=self.denied,
            window=timedelta(days=recipe.window_days),
        )

    def forget(self) -> None:
        """Frees what `as_of` has read."""
        self._read.clear()

    def held_out(
        self,
        cut: datetime,
        until: datetime,
        *,
        sample: int,
        seed: int,
        objective: Objective = "conversions",
    ) -> HeldOut:
        """What a seeded sample of customers took in [cut, until), as the objective counts it."""
        return hold_out(
            self.log,
            cut=cut,
            until=until,
            denied=self.denied,
            kinds=TAKING[objective],
            sample=sample,
            seed=seed,
        )


def read_source(store: Store, log: EventLog, *, now: datetime) -> TrainingSource:
    """Archives what the store has not yet put into the log, removes the rows of whoever was erased
    since, then reads where the log stands.

    Events later than `now` come from wrong clocks and are not read. InsufficientData where there is
    no event.
    """
    store.archive(log)
    erased = store.clear_log(log, at=now)
    files = [str(path) for path in log.files()]
    if not files:
        raise InsufficientData(
            f"The event log at {log.root} is empty; run `recsys import` or send events first."
        )
    with duckdb.connect() as connection:
        row = connection.execute(
            "SELECT epoch(min(timestamp)), epoch(max(timestamp)), count(DISTINCT event_id) "
            f"FROM read_parquet({files!r}, hive_partitioning = false, union_by_name = true) "
            "WHERE epoch(timestamp) <= ?",
            [now.timestamp()],
        ).fetchone()
    if row is None or row[0] is None:
        raise InsufficientData(f"The event log at {log.root} holds no event; import events first.")
    return TrainingSource(
        log=log,
        items=tuple(store.items()),
        profiles=store.profiles(),
        preferences=store.all_preferences(),
        denied=frozenset(store.denied()),
        oldest=datetime.fromtimestamp(float(row[0]), UTC),
        newest=datetime.fromtimestamp(float(row[1]), UTC) + timedelta(seconds=1),
        events=int(row[2]),
        fingerprint=fingerprint(log),
        erased=erased,
    )


def fingerprint(log: EventLog) -> str:
    """A digest of the log's content: the same rows in the same files give the same text."""
    digest = hashlib.sha256()
    for path in log.files():
        digest.update(str(path.relative_to(log.root)).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
