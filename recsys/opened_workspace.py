"""`OpenedWorkspace`: a shop's workspace from Python; nothing in it is changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.bundle.bundle import Bundle
from recsys.catalog.items import Item
from recsys.dataset.event_frame import after_newest
from recsys.dataset.frames import Frame
from recsys.dataset.item_frame import frame_of_items
from recsys.dataset.splitting import HeldOut, hold_out
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.errors import InsufficientData, InvalidInput
from recsys.events.log import SCHEMA, EventLog, rows
from recsys.events.weighting import Weighting
from recsys.extras import optional_packages
from recsys.recommender import METRICS, Recommender, load
from recsys.store.protocol import Store

EVENT_LOG: Final = "event_log"
STORE: Final = "store.sqlite"
PUBLISHED: Final = "published"
"""What a workspace holds, by name below its directory (`training.workspace`)."""


class OpenedWorkspace:
    """The events, the catalogue and the champion of a workspace.

    Everything is read when it is asked for. `now` of a question is the moment just after the newest
    event unless `as_of` says otherwise, so that the same workspace gives the same answers. Works
    beside a running service and a nightly run.
    """

    def __init__(self, root: Path, store: Store) -> None:
        self.root = root
        self._log = EventLog(root / EVENT_LOG)
        self._store = store

    def events(self) -> pd.DataFrame:
        """All events that the workspace knows, one row per item, oldest first.

        Columns as `TrainingData.from_events` takes them. An event without consent names nobody.
        """
        table = self._table()
        names = {"kind": "event", "list_index": "index"}
        renamed = table.rename_columns([names.get(name, name) for name in table.column_names])
        return renamed.drop_columns(["position"]).to_pandas()

    def items(self) -> pd.DataFrame:
        """The catalogue with today's stock and prices, one row per item, indexed by `item_id`."""
        return frame_of_items(self._store.items())

    def training_data(
        self, *, as_of: datetime | None = None, weighting: Weighting | None = None
    ) -> TrainingData:
        """What a model may learn, as of a moment: just after the newest event if not given."""
        table = self._table()
        moment = after_newest(table) if as_of is None else as_of
        return self._read(table, moment, weighting or Weighting())

    def held_out(
        self,
        *,
        cut: datetime,
        until: datetime | None = None,
        kinds: Sequence[str] = ("purchase",),
        seed: int = 7,
    ) -> HeldOut:
        """What persons took in [cut, until), the newest event if `until` is not given."""
        table = self._table()
        return hold_out(
            table,
            cut=cut,
            until=after_newest(table) if until is None else until,
            denied=self._store.denied(),
            kinds=kinds,
            seed=seed,
        )

    def champion(self, *, as_of: datetime | None = None) -> Recommender:
        """The published version, with the histories as of a moment.

        BundleError where nothing was published.
        """
        return self.recommender(load(self.root / PUBLISHED).bundle, as_of=as_of)

    def recommender(self, bundle: Bundle, *, as_of: datetime | None = None) -> Recommender:
        """Any version with the histories of this workspace as of a moment.

        Events of items that came after the version was made are left out: it does not know them.
        """
        table = self._table()
        known = pc.is_in(table["item_id"], pa.array(bundle.items.ids()))
        table = table.filter(pc.or_(pc.is_null(table["item_id"]), known))
        moment = after_newest(table) if as_of is None else as_of
        data = self._read(table, moment, bundle.weighting, bundle.catalog.items)
        return Recommender(bundle, data)

    def recommend(
        self,
        questions: Frame,
        *,
        n: int = 20,
        placement: str = "for_you",
        as_of: datetime | None = None,
    ) -> pd.DataFrame:
        """The champion's answers to a frame of questions (`Recommender.recommend`).

        With `as_of` nothing that happened at or after that moment is used.
        """
        return self.champion(as_of=as_of).recommend(questions, n=n, placement=placement)

    def evaluate(self, split: HeldOut, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
        """The champion on what was held out after it was made (`Recommender.evaluate`)."""
        return self.champion(as_of=split.cut).evaluate(split, metrics)

    def factors(self, model: str) -> pd.DataFrame:
        """The item vectors of one of the champion's models (`Recommender.factors`)."""
        return load(self.root / PUBLISHED).factors(model)

    def close(self) -> None:
        """Closes the store."""
        self._store.close()

    def __enter__(self) -> OpenedWorkspace:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<OpenedWorkspace {self.root}>"

    def _table(self) -> pa.Table:
        """The rows of the event log, and of the events that are not in it yet."""
        parts = [pq.read_table(path, schema=SCHEMA) for path in self._log.files()]
        logged = pa.concat_tables([SCHEMA.empty_table(), *parts])
        waiting = rows(self._store.waiting())
        twice = pc.is_in(logged["event_id"], pc.unique(waiting["event_id"]))
        table = pa.concat_tables([logged.filter(pc.invert(twice)), waiting])
        if not table.num_rows:
            raise InsufficientData(
                f"The workspace {self.root} has no event; run `recsys import` or send events first."
            )
        return table.sort_by([("timestamp", "ascending"), ("event_id", "ascending")])

    def _read(
        self,
        table: pa.Table,
        as_of: datetime,
        weighting: Weighting,
        catalog: Sequence[Item] | None = None,
    ) -> TrainingData:
        return read_training_data(
            table,
            as_of=as_of,
            weighting=weighting,
            catalog=self._store.items() if catalog is None else catalog,
            profiles=self._store.profiles(),
            preferences=self._store.all_preferences(),
            denied=self._store.denied(),
        )


def open_workspace(workspace: Path | str = ".recsys") -> OpenedWorkspace:
    """A workspace of `recsys import`, `nightly` and `serve`, to read from.

    MissingExtra where neither `recsys[serve]` nor `recsys[train]` is installed; InvalidInput where
    the directory holds no workspace.
    """
    root = Path(workspace)
    if not (root / STORE).exists():
        raise InvalidInput("workspace", str(root), "name a directory made by `recsys import`")
    with optional_packages("recsys.open"):
        from recsys.store.sqlite import SQLiteStore
    return OpenedWorkspace(root, SQLiteStore(root / STORE))
