"""Access and erasure: all records of a person, exported page by page or removed.

The service removes what it writes itself. It never rewrites the event log, which training may be
reading: that is the next `recsys nightly`'s first step, and the receipt says how far it has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.random import Generator

from recsys.bundle.manifest import read_manifest
from recsys.bundle.publication import read_publication
from recsys.errors import BundleError
from recsys.events.log import START, EventLog, LogPosition
from recsys.events.pseudonyms import Pseudonyms, pseudonyms_of
from recsys.events.rejected_lines import lines_about, remove_lines
from recsys.events.schema import Person
from recsys.store.protocol import EXPORT_SECTIONS, PeopleStore
from serving.api.customer_schemas import (
    EraseAnswer,
    ExportAnswer,
    ExportRequest,
    HeldRows,
    LogState,
)
from serving.api.problems import invalid
from serving.api.schemas import User
from serving.use_cases.customer_choices import person_of

EVENT_LOG: Final = "event_log"
REJECTED: Final = "rejected"
EVERY_SECTION: Final = (*EXPORT_SECTIONS, EVENT_LOG, REJECTED)
"""The sections of an export in their order."""

REGISTRY: Final = (
    "No version in MLflow holds rows of persons: models that store customers are kept in the "
    "published directory alone, under codes from which no id can be read."
)
NIGHTLY: Final = "event log: its rows are removed by the next `recsys nightly`, before it trains"
BUNDLES: Final = (
    "published bundles with rows of the person: every worker leaves them out when it loads a "
    "bundle and within a second of the erasure; the files go with `keep_bundles`"
)
VERIFY: Final = (
    "POST /v1/privacy/export has no record left once event_log.state is done; "
    "POST /v1/privacy/erase again tells how far it is"
)


@dataclass(frozen=True, slots=True)
class Privacy:
    """Where the service holds records of persons: store, event log, rejected lines, bundles."""

    store: PeopleStore
    log: EventLog
    rejected: Path
    published: Path

    def export(self, request: ExportRequest) -> ExportAnswer:
        """A page of records, section after section; ProblemError where no person is named or the
        cursor is wrong."""
        person = person_of(request.user)
        section, since = _position(request.cursor)
        records: list[dict[str, Any]] = []
        while True:
            name = EVERY_SECTION[section]
            page, next_since = self._page(person, name, since, request.limit - len(records))
            records += [{"place": name, **record} for record in page]
            if next_since is not None:
                cursor = f"{name}:{next_since[0]}.{next_since[1]}"
                return ExportAnswer(records=records, next=cursor)
            section, since = section + 1, START
            if section == len(EVERY_SECTION):
                return ExportAnswer(records=records, next=None)
            if len(records) == request.limit:
                return ExportAnswer(records=records, next=f"{EVERY_SECTION[section]}:0.0")

    def erase(self, user: User, *, now: datetime, rng: Generator) -> EraseAnswer:
        """Removes the person and gives the receipt; ProblemError for nobody.

        Repeating it removes nothing more and gives the same receipt, as far as it has come.
        """
        person = person_of(user)
        names = self.store.visitors(person)
        ids = [name.user_id or name.anonymous_id or "" for name in names]
        lines = remove_lines(self.rejected, ids)
        erasure = self.store.erase(
            person, receipt=f"x-{rng.bytes(12).hex()}", at=now, rejected_lines=lines
        )
        keys = [key for name in names if (key := name.key) is not None]
        bundles = self._bundles(pseudonyms_of(keys))
        done = erasure.log_time is not None
        remaining = [] if done else [NIGHTLY]
        if any(bundle.holds_rows for bundle in bundles):
            remaining.append(BUNDLES)
        return EraseAnswer(
            receipt=erasure.receipt,
            erased_at=_moment(erasure.time),
            removed=erasure.removed,
            event_log=LogState(
                state="done" if done else "pending",
                rows=erasure.log_rows,
                done_at=None if erasure.log_time is None else _moment(erasure.log_time),
            ),
            bundles=bundles,
            model_registry=REGISTRY,
            remaining=remaining,
            verify=VERIFY,
        )

    def _page(
        self, person: Person, section: str, since: LogPosition, limit: int
    ) -> tuple[list[dict[str, Any]], LogPosition | None]:
        """At most `limit` records of a section, and the position of the next; None at its end."""
        if section == EVENT_LOG:
            return self.log.rows_of(self.store.visitors(person), since=since, limit=limit)
        # One more than fits shows whether the section has a further page.
        number, offset = since
        if section == REJECTED:
            names = self.store.visitors(person)
            ids = [name.user_id or name.anonymous_id or "" for name in names]
            records = lines_about(self.rejected, ids)[offset : offset + limit + 1]
        else:
            records = self.store.export(person, section=section, offset=offset, limit=limit + 1)
        return records[:limit], (number, offset + limit) if len(records) > limit else None

    def _bundles(self, owners: Pseudonyms) -> list[HeldRows]:
        """Whether each published bundle holds rows of these owners; damaged ones are left out: they
        are not served."""
        try:
            publication = read_publication(self.published)
        except BundleError:
            publication = None
        served = set() if publication is None else {v.model_version for v in publication.variants}
        held = []
        for directory in sorted((self.published / "bundles").glob("[!.]*")):
            try:
                manifest = read_manifest(directory)
            except BundleError:
                continue
            held.append(
                HeldRows(
                    model_version=manifest.model_version,
                    holds_rows=any(
                        _holds(directory / "models" / name / "owners.npy", owners)
                        for name in manifest.private_models
                    ),
                    served=manifest.model_version in served,
                )
            )
        return held


def _holds(path: Path, owners: Pseudonyms) -> bool:
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        return False
    return bool(np.isin(stored, owners).any())


def _position(cursor: str | None) -> tuple[int, LogPosition]:
    if cursor is None:
        return 0, START
    name, _, since = cursor.partition(":")
    if name not in EVERY_SECTION:
        raise invalid("cursor", cursor, "send the `next` of the page before, or nothing")
    number, _, offset = since.partition(".")
    return EVERY_SECTION.index(name), (int(number), int(offset))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
