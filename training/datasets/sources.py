"""The format of a file, given or recognised by its columns, and how its findings are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from recsys.errors import InvalidInput
from recsys.events.adapters import SegmentConsent
from training.datasets.consent import ConsentStatement
from training.datasets.findings import Finding
from training.datasets.formats.canonical import CanonicalKind, canonical_kind, read_canonical
from training.datasets.formats.foreign_events import (
    GA4Options,
    is_ga4,
    is_segment,
    read_ga4,
    read_ga4_options,
    read_segment,
)
from training.datasets.formats.mapped import read_mapped
from training.datasets.formats.mapping import ColumnMapping, read_mapping
from training.datasets.formats.merchant_feed import is_merchant, read_merchant
from training.datasets.formats.online_retail import read_online_retail
from training.datasets.formats.rees46 import COLUMNS as REES46_COLUMNS
from training.datasets.formats.rees46 import REES46
from training.datasets.formats.retail_lines import COLUMNS as RETAIL_COLUMNS
from training.datasets.formats.retail_lines import Protocol
from training.datasets.formats.xml_feed import XMLFeed
from training.datasets.reading import TableFile

Format = Literal[
    "auto", "canonical", "ga4", "segment", "rees46", "online-retail", "merchant", "csv"
]
Contents = CanonicalKind | Literal["unknown"]


class ImportOptions(BaseModel):
    """How files are imported: one section of a configuration file, or the command line's options.

    `consent` None refuses files that name persons without saying whether they agreed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format = "auto"
    """What the files are; `auto` recognises them by their columns."""
    protocol: Protocol = "shop"
    """Online Retail: as a shop wants it, or as published figures took it."""
    consent: ConsentStatement | None = None
    """Where the files do not say: everybody agreed (`assumed`), or nobody was asked (`absent`)."""
    mapping: Path | None = None
    """Path of a column mapping, or of the options of a GA4 export."""
    max_rejected: float = Field(default=0.01, ge=0, le=1)
    """Largest share of rejected rows that is a success."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file to import; `contents` where the caller knows what is in it."""

    path: Path
    contents: Contents = "unknown"


@dataclass(frozen=True, slots=True)
class FileSource:
    """An opened file, recognised: its name for records, and how to read it."""

    table: TableFile | XMLFeed
    name: str
    contents: Contents
    read: Callable[[], Iterator[Finding]]

    def findings(self) -> Iterator[Finding]:
        """Everything in the file, in one pass or two, in bounded memory."""
        return self.read()


def open_source(file: DataFile, options: ImportOptions, *, at: datetime) -> FileSource:
    """The file as a source, as of `at`; InvalidInput where its format is unknown."""
    if _is_xml(file.path):
        feed = XMLFeed(file.path)
        return FileSource(feed, "merchant feed", "items", partial(read_merchant, feed, at=at))
    if file.contents == "unknown" and options.format in ("auto", "csv"):
        if options.mapping is not None:
            return _mapped(file.path, read_mapping(options.mapping))
        if options.format == "csv":
            raise InvalidInput("mapping", None, _NEEDS_MAPPING)
    table = TableFile(file.path)
    match _format(file, options, table):
        case "events" | "items" | "profiles" as contents:
            read: Callable[[], Iterator[Finding]] = partial(read_canonical, table, contents)
            return FileSource(table, f"canonical {contents}", contents, read)
        case "merchant":
            return FileSource(table, "merchant feed", "items", partial(read_merchant, table, at=at))
        case "ga4":
            chosen = GA4Options() if options.mapping is None else read_ga4_options(options.mapping)
            return FileSource(table, "GA4 export", "events", partial(read_ga4, table, chosen))
        case "segment":
            return FileSource(
                table, "Segment messages", "events", partial(read_segment, table, SegmentConsent())
            )
        case "rees46":
            return _mapped(file.path, REES46)
        case "online-retail":
            read = partial(read_online_retail, table, options.protocol)
            return FileSource(table, f"online-retail {options.protocol}", "unknown", read)
    raise InvalidInput(
        f"{file.path.name}: columns", ", ".join(table.columns), _REMEDIES[options.format]
    )


def _format(file: DataFile, options: ImportOptions, table: TableFile) -> str | None:
    """The format of the file, given or by its columns; None where they do not match."""
    columns = table.columns
    if file.contents != "unknown":
        feed = options.format == "merchant" or canonical_kind(columns) is None
        fits = file.contents == "items" and feed and is_merchant(columns)
        return "merchant" if fits else file.contents
    # Canonical profiles last: a table of another system may well have a user_id of its own.
    known: dict[str, str | None] = {
        "merchant": "merchant" if is_merchant(columns) else None,
        "ga4": "ga4" if is_ga4(columns) else None,
        "segment": "segment" if is_segment(columns) else None,
        "rees46": "rees46" if set(REES46_COLUMNS) <= set(columns) else None,
        "online-retail": "online-retail" if set(RETAIL_COLUMNS) <= set(columns) else None,
        "canonical": canonical_kind(columns),
    }
    if options.format != "auto":
        return known[options.format]
    return next((kind for kind in known.values() if kind is not None), None)


def _mapped(path: Path, mapping: ColumnMapping) -> FileSource:
    table = TableFile(path, delimiter=mapping.delimiter)
    return FileSource(table, "csv", "unknown", partial(read_mapped, table, mapping))


def _is_xml(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".xml")


_NEEDS_MAPPING: Final = "give --mapping FILE; configs/import-example.yaml shows every key"
_REMEDIES: Final = {
    "auto": f"they are of no known format; {_NEEDS_MAPPING}",
    "canonical": "canonical events have event_id, event and timestamp, items have item_id, "
    "profiles have user_id or anonymous_id",
    "online-retail": "Online Retail has " + ", ".join(RETAIL_COLUMNS),
    "rees46": "REES46 has " + ", ".join(REES46_COLUMNS),
    "ga4": "GA4's BigQuery export has event_name, event_timestamp and event_params",
    "segment": "a Segment message has type, messageId, and anonymousId or userId",
    "merchant": "a Merchant Center feed has id, title, link, price and availability",
    "csv": _NEEDS_MAPPING,
}
