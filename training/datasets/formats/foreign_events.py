"""Events as other systems keep them: GA4's BigQuery export and Segment's messages, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys.catalog.items import parse_item
from recsys.errors import InvalidConfig, InvalidInput
from recsys.events.adapters import (
    GA4Row,
    Ignored,
    SegmentConsent,
    SegmentMessage,
    Translated,
    message_event,
    read_lax,
    row_event,
)
from recsys.events.adapters.canonical import as_id
from recsys.events.adapters.ga4_export import GA4RowItem
from recsys.events.schema import parse_event
from training.datasets.findings import Finding, FoundEvent, FoundItem, KeptOut, Rejected
from training.datasets.reading import FileRow, TableFile, Unreadable

T = TypeVar("T")


class GA4Consent(BaseModel):
    """Where the site recorded consent to personalisation; see `configs/import-ga4.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    """Event parameter or user property."""
    granted: frozenset[str]
    """Values that mean yes; any other is a refusal."""


class GA4Options(BaseModel):
    """Options for reading an export; see `configs/import-ga4.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ignore: frozenset[str] = Field(default_factory=frozenset)
    """Event names to leave out, besides GA4's own events about visits."""
    consent: GA4Consent | None = None
    """Where the site recorded consent to personalisation; null follows `--consent`."""
    describe_items: bool = True
    """Whether names, brands, categories and prices of the rows' items fill the catalogue."""


def read_ga4_options(path: Path) -> GA4Options:
    """The options in a YAML file; InvalidConfig names the key and the remedy."""
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        return GA4Options.model_validate({} if fields is None else fields)
    except OSError as error:
        raise InvalidConfig(
            "mapping", str(path), f"it cannot be read ({error.strerror})"
        ) from error
    except yaml.YAMLError as error:
        raise InvalidConfig("mapping", str(path), f"it is not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "mapping"
        raise InvalidConfig(key, first["input"], first["msg"]) from error


def read_ga4(table: TableFile, options: GA4Options) -> Iterator[Finding]:
    """Every row of the export as an event, then the items that the rows describe."""
    consent = options.consent
    described: dict[str, dict[str, Any]] = {}
    for row in table:
        if isinstance(row, Unreadable):
            yield Rejected.unreadable(row)
            continue
        try:
            exported = _convert(row, GA4Row)
            translated = row_event(
                exported,
                ignore=options.ignore,
                consent_key=consent.key if consent else None,
                granted=consent.granted if consent else (),
            )
            finding = _finding(row, translated)
        except InvalidInput as error:
            yield Rejected.of(row, error)
            continue
        if options.describe_items and isinstance(finding, FoundEvent):
            for item in exported.items or ():
                _describe(item, described)
        yield finding
    for fields in described.values():
        yield FoundItem(parse_item(fields), declared=False)


def read_segment(table: TableFile, consent: SegmentConsent) -> Iterator[Finding]:
    """Every message of the file as an event. A message without a time is rejected."""
    for row in table:
        if isinstance(row, Unreadable):
            yield Rejected.unreadable(row)
            continue
        try:
            message = _convert(row, SegmentMessage)
            if not (message.timestamp or message.original_timestamp or message.sent_at):
                raise InvalidInput("timestamp", None, "history needs the time of each message")
            yield _finding(row, message_event(message, consent=consent, received_at=_NEVER))
        except InvalidInput as error:
            yield Rejected.of(row, error)


def is_ga4(columns: tuple[str, ...]) -> bool:
    """Whether a file with these columns is GA4's export."""
    return {"event_name", "event_timestamp"} <= set(columns)


def is_segment(columns: tuple[str, ...]) -> bool:
    """Whether a file with these keys holds Segment messages."""
    return "type" in columns and bool({"messageId", "anonymousId", "userId"} & set(columns))


_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CATEGORIES: Final = (
    "item_category",
    "item_category2",
    "item_category3",
    "item_category4",
    "item_category5",
)


def _convert(row: FileRow, type_: type[T]) -> T:
    return read_lax(row.content if isinstance(row.content, bytes) else _plain(row.content), type_)


def _plain(value: Any) -> Any:
    """A Parquet value without nulls, its lists as lists: BigQuery wraps each of their elements."""
    if isinstance(value, Mapping):
        if value.keys() == {"list"} and isinstance(value["list"], list):
            return [_plain(entry.get("element", entry)) for entry in value["list"]]
        return {name: _plain(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def _finding(row: FileRow, translated: Translated) -> Finding:
    if isinstance(translated, Ignored):
        return KeptOut(translated.reason)
    return FoundEvent(row.line, parse_event(translated))


def _describe(item: GA4RowItem, described: dict[str, dict[str, Any]]) -> None:
    """Records the fields of an item; those of later rows replace earlier ones."""
    id = as_id(item.item_id)
    if id is None:
        return
    levels = [as_id(getattr(item, name)) for name in _CATEGORIES]
    fields = {
        "title": _cut(as_id(item.item_name), 512),
        "brand": _cut(as_id(item.item_brand), 64),
        "category": [level[:64] for level in levels if level],
        "price": item.price if item.price is not None and 0 < item.price <= 1e9 else None,
    }
    described.setdefault(id, {"item_id": id}).update(
        {name: value for name, value in fields.items() if value}
    )


def _cut(text: str | None, length: int) -> str | None:
    return text and " ".join(text.split())[:length]
