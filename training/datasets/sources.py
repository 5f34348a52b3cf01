"""Which source a file is, told or recognised by its columns, and what is found in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from recsys.errors import InvalidInput
from training.datasets.canonical import CanonicalKind, canonical_kind, read_canonical
from training.datasets.consent import ConsentStatement
from training.datasets.findings import Finding
from training.datasets.mapped import read_mapped
from training.datasets.mapping import ColumnMapping, read_mapping
from training.datasets.online_retail import read_online_retail
from training.datasets.reading import TableFile
from training.datasets.retail_lines import COLUMNS as RETAIL_COLUMNS
from training.datasets.retail_lines import Protocol

Format = Literal["auto", "canonical", "online-retail", "csv"]
Contents = CanonicalKind | Literal["unknown"]


class ImportOptions(BaseModel):
    """How files are imported: one section of a configuration file, or the command line's options.

    `consent` None refuses files that name persons without saying whether they agreed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format = "auto"
    protocol: Protocol = "shop"
    consent: ConsentStatement | None = None
    mapping: Path | None = None
    max_rejected: float = Field(default=0.01, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file to import; `contents` where the caller knows what is in it."""

    path: Path
    contents: Contents = "unknown"


@dataclass(frozen=True, slots=True)
class Source:
    """An opened file, recognised: its name for records, and how to read it."""

    table: TableFile
    name: str
    contents: Contents
    protocol: Protocol
    mapping: ColumnMapping | None

    def findings(self) -> Iterator[Finding]:
        """Everything in the file, in one pass or two, in bounded memory."""
        if self.mapping is not None:
            return read_mapped(self.table, self.mapping)
        if self.contents == "unknown":
            return read_online_retail(self.table, self.protocol)
        return read_canonical(self.table, self.contents)


def open_source(file: DataFile, options: ImportOptions) -> Source:
    """The file as a source; InvalidInput where it cannot be told what it is."""
    mapping = None
    if file.contents == "unknown" and (options.format == "csv" or options.mapping is not None):
        if options.mapping is None:
            raise InvalidInput("mapping", None, _NEEDS_MAPPING)
        mapping = read_mapping(options.mapping)
    table = TableFile(file.path, delimiter=mapping.delimiter if mapping else ",")
    if mapping is not None:
        return Source(table, "csv", "unknown", options.protocol, mapping)
    contents = file.contents
    if contents == "unknown" and options.format in ("auto", "canonical"):
        contents = canonical_kind(table.columns) or "unknown"
    if contents != "unknown":
        return Source(table, f"canonical {contents}", contents, options.protocol, None)
    missing = [column for column in RETAIL_COLUMNS if column not in table.columns]
    if options.format == "canonical" or missing:
        raise InvalidInput(
            f"{file.path.name}: columns", ", ".join(table.columns), _REMEDIES[options.format]
        )
    return Source(table, f"online-retail {options.protocol}", "unknown", options.protocol, None)


_NEEDS_MAPPING: Final = "give --mapping FILE; configs/import-example.yaml shows every key"
_REMEDIES: Final = {
    "auto": f"they are of no known format; {_NEEDS_MAPPING}",
    "canonical": "canonical events have event_id, event and timestamp, items have item_id, "
    "profiles have user_id or anonymous_id",
    "online-retail": "Online Retail has " + ", ".join(RETAIL_COLUMNS),
    "csv": _NEEDS_MAPPING,
}
