"""What an import did, counted, and how it is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileSummary:
    """What became of one file.

    `rows` were read; each was used, rejected, or kept out by a rule (by reason). `events`, `items`
    and `profiles` are new in the store, `duplicates` and `known` were there before.
    """

    path: Path
    source: str
    rows: int
    events: int = 0
    duplicates: int = 0
    items: int = 0
    profiles: int = 0
    known: int = 0
    rejected: int = 0
    kept_out: Mapping[str, int] = field(default_factory=dict)
    rejected_file: Path | None = None
    rejected_examples: Sequence[str] = ()

    @property
    def taken(self) -> int:
        """Events, items and profiles that the store now has, new or not."""
        return self.events + self.duplicates + self.items + self.profiles + self.known


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What became of all files; `archived` events went on into the event log."""

    files: Sequence[FileSummary]
    archived: int

    @property
    def rejected_share(self) -> float:
        """Rejected of all rows read; 0 where nothing was read."""
        rows = sum(file.rows for file in self.files)
        return sum(file.rejected for file in self.files) / rows if rows else 0.0

    def succeeded(self, *, max_rejected: float) -> bool:
        """Whether anything was taken and the rejected share is at most `max_rejected`.

        What the store had before counts as taken, so that a repeated import succeeds.
        """
        return any(file.taken for file in self.files) and self.rejected_share <= max_rejected

    def __str__(self) -> str:
        lines = [line for file in self.files for line in _lines(file)]
        return "\n".join([*lines, f"{self.archived:,} events archived in the event log"])


def _lines(file: FileSummary) -> list[str]:
    lines = [
        f"{file.path.name} ({file.source}): {file.rows:,} rows",
        f"  accepted    {file.events:,} events, {file.items:,} items, {file.profiles:,} profiles",
        f"  duplicates  {file.duplicates:,} events, {file.known:,} items and profiles as they were",
    ]
    kept_out = sorted(file.kept_out.items(), key=lambda entry: -entry[1])
    lines += [f"  kept out    {count:,} rows: {reason}" for reason, count in kept_out]
    aside = f", kept in {file.rejected_file}" if file.rejected_file else ""
    lines.append(f"  rejected    {file.rejected:,} rows{aside}")
    return [*lines, *(f"              {example}" for example in file.rejected_examples)]
