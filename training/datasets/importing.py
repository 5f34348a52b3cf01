"""The import of files into the store, the catalogue and the event log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from recsys.catalog.items import Item
from recsys.events.log import EventLog
from recsys.events.schema import Event
from recsys.query.profile import Profile
from recsys.store.protocol import Store
from training.datasets.consent import AGREED, ConsentRule
from training.datasets.findings import (
    Finding,
    FoundEvent,
    FoundItem,
    FoundProfile,
    KeptOut,
    Rejected,
)
from training.datasets.records import RejectedLines, digest, write_down
from training.datasets.sources import DataFile, FileSource, ImportOptions, open_source
from training.datasets.summary import FileSummary, ImportSummary
from training.workspace import Workspace

BATCH: Final = 2_000
"""Events, items or profiles per transaction of the store."""

Watch = Callable[[str, int, int], None]
"""Called as an import goes on: the file's name, how far it is, and how far it will be."""


def watch_nothing(name: str, done: int, total: int) -> None:
    """For callers who do not want to see the progress."""


def import_files(
    files: Sequence[DataFile],
    options: ImportOptions,
    *,
    workspace: Workspace,
    store: Store,
    at: datetime,
    watch: Watch = watch_nothing,
) -> ImportSummary:
    """Brings the files into the store and its events on into the event log.

    Importing a file again adds nothing. Rows that break a rule are kept in `workspace.rejected`;
    the consent statement is written to `workspace.imports` before the first event is stored.
    `at` is the time of the import. InvalidInput where a file cannot be read or recognised, or
    names persons while nothing says whether they agreed; what was stored by then stays.
    """
    workspace.create()
    sources = [open_source(file, options, at=at) for file in files]
    summaries = [
        _import_source(source, options, workspace=workspace, store=store, at=at, watch=watch)
        for source in sources
    ]
    archived = store.archive(EventLog(workspace.event_log))
    return ImportSummary(summaries, archived)


def _import_source(
    source: FileSource,
    options: ImportOptions,
    *,
    workspace: Workspace,
    store: Store,
    at: datetime,
    watch: Watch,
) -> FileSummary:
    path = source.table.path
    sha256 = digest(path)
    record = {
        "file": path.name,
        "sha256": sha256,
        "source": source.name,
        "consent": options.consent or "as the file says",
        "at": at,
    }
    write_down(workspace.imports, {**record, "state": "begun"})
    rejected = RejectedLines(workspace.rejected / f"{path.name}.{sha256[:8]}.jsonl")
    with rejected:
        consent = ConsentRule(options.consent, frozenset(store.denied()))
        intake = _Intake(store, consent, at)
        for finding in source.findings():
            if isinstance(finding, Rejected):
                rejected.add(finding)
            elif intake.add(finding):
                watch(path.name, source.table.done, source.table.total)
        intake.flush()
        watch(path.name, source.table.total, source.table.total)
    summary = FileSummary(
        path=path,
        source=source.name,
        rows=source.table.rows,
        events=intake.counts["events"],
        duplicates=intake.counts["duplicates"],
        items=intake.counts["items"],
        profiles=intake.counts["profiles"],
        known=intake.counts["known"],
        rejected=rejected.lines,
        kept_out=dict(intake.kept_out),
        rejected_file=rejected.written,
        rejected_examples=tuple(rejected.examples),
    )
    done = {"state": "done", "rows": summary.rows, "rejected": summary.rejected}
    write_down(workspace.imports, {**record, **done, **intake.counts, "kept_out": intake.kept_out})
    return summary


class _Intake:
    """Gathers findings into batches for the store, and counts."""

    def __init__(self, store: Store, consent: ConsentRule, at: datetime) -> None:
        self.counts: Counter[str] = Counter()
        self.kept_out: Counter[str] = Counter()
        self._store = store
        self._consent = consent
        self._at = at
        self._events: list[Event] = []
        self._items: list[Item] = []
        self._profiles: list[Profile] = []
        self._known_items: dict[str, Item] | None = None

    def add(self, finding: Finding) -> bool:
        """Adds a finding to its batch; True where the batch was full and is now stored."""
        match finding:
            case FoundEvent(line, event):
                self._events.append(self._consent.event(event, line=line))
            case FoundItem():
                self._add_item(finding)
            case FoundProfile():
                self._add_profile(finding)
            case KeptOut(reason, lines):
                self.kept_out[reason] += lines
        full = max(len(self._events), len(self._items), len(self._profiles)) >= BATCH
        if full:
            self.flush()
        return full

    def flush(self) -> None:
        """Stores what has gathered."""
        if self._events:
            stored = sum(self._store.append(self._events, received_at=self._at, lasting=True))
            self.counts["events"] += stored
            self.counts["duplicates"] += len(self._events) - stored
            self._events = []
        if self._items:
            self._store.put_items(self._items, received_at=self._at)
            self.counts["items"] += len(self._items)
            self._items = []
        if self._profiles:
            self._store.put_profiles(self._profiles, received_at=self._at)
            self.counts["profiles"] += len(self._profiles)
            self._profiles = []

    def _add_item(self, finding: FoundItem) -> None:
        if self._known_items is None:
            self._known_items = {item.item_id: item for item in self._store.items()}
        known = self._known_items.get(finding.item.item_id)
        if known == finding.item or (known is not None and not finding.declared):
            self.counts["known"] += 1
            return
        self._known_items[finding.item.item_id] = finding.item
        self._items.append(finding.item)

    def _add_profile(self, finding: FoundProfile) -> None:
        profile = finding.profile
        if not self._consent.allows(profile, line=finding.line):
            self.kept_out["profile of a person without consent"] += 1
            return
        known = self._store.person(profile.person, limit=1)
        if finding.declared and profile.consent is None and known.consent is None:
            profile = msgspec.structs.replace(profile, consent=AGREED)
        new = _named(profile).items() - _named(known.profile).items()
        if not finding.declared:
            new = {(name, value) for name, value in new if name not in _named(known.profile)}
        if new or profile.consent not in (None, known.consent):
            self._profiles.append(profile)
        else:
            self.counts["known"] += 1


def _named(profile: Profile) -> dict[str, object]:
    """The declared fields of the profile, trait by trait, without ids and consent."""
    fields = {
        "country": profile.country,
        "customer_group": profile.customer_group,
        "account_id": profile.account_id,
        **{f"traits.{name}": value for name, value in profile.traits.items()},
    }
    return {name: value for name, value in fields.items() if value is not None}
