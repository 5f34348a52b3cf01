"""A column mapping: a YAML file that says which column of a table of events is what.

See `configs/import-example.yaml` for every key with its comment.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from recsys.errors import InvalidConfig, InvalidInput
from recsys.events.schema import EventKind

EPOCH_UNITS: Final[Mapping[str, float]] = {"epoch_seconds": 1.0, "epoch_milliseconds": 1_000.0}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("use a name of the IANA list, such as UTC or Europe/Amsterdam")
    return name


class KindColumn(_Section):
    """The event kind: a column with a map of its values, or the same for every row."""

    column: str | None = None
    values: dict[str, EventKind | Literal["ignore"]] = Field(default_factory=dict)
    always: EventKind | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> KindColumn:
        if (self.column is None) == (self.always is None):
            raise ValueError("give either `column` (with `values`) or `always`")
        if self.column is not None and not self.values:
            raise ValueError("say in `values` which value means which event kind")
        return self


class TimeColumn(_Section):
    """When it happened; `zone` is where a time without an offset was written down."""

    column: str
    format: str = "iso"
    zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"

    def parse(self, cell: object) -> datetime:
        """The moment in UTC; InvalidInput names the column."""
        try:
            moment = self._moment(cell)
            return (
                moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(self.zone))
            ).astimezone(UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise InvalidInput(
                self.column, cell, f"write the time as the mapping's format {self.format!r} says"
            ) from error

    def _moment(self, cell: object) -> datetime:
        if isinstance(cell, datetime):
            return cell
        if self.format == "iso":
            return datetime.fromisoformat(str(cell))
        if self.format in EPOCH_UNITS:
            return datetime.fromtimestamp(float(str(cell)) / EPOCH_UNITS[self.format], UTC)
        return datetime.strptime(str(cell), self.format)


class ConsentColumn(_Section):
    """Which column holds the consent to personalisation, and which of its values mean yes."""

    column: str
    granted: frozenset[str] = frozenset({"true", "True", "1", "yes"})


class EventColumns(_Section):
    """Columns that make up an event; one row is one event with at most one item."""

    kind: KindColumn
    timestamp: TimeColumn
    event_id: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    session_id: str | None = None
    account_id: str | None = None
    item_id: str | None = None
    price: str | None = None
    quantity: str | None = None
    order_id: str | None = None
    search_term: str | None = None
    rating: str | None = None
    country: str | None = None
    device: str | None = None
    channel: str | None = None
    consent: ConsentColumn | None = None


class CatalogColumns(_Section):
    """Columns that describe the item of a row; the newest row of an item wins, cell by cell."""

    title: str | None = None
    category: str | None = None
    category_separator: Annotated[str, Field(min_length=1)] = " > "
    brand: str | None = None
    price: str | None = None


class ColumnMapping(_Section):
    """A mapping file: which column is what, how times and kinds are written."""

    events: EventColumns
    catalog: CatalogColumns | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","

    @model_validator(mode="after")
    def _catalog_has_an_item(self) -> ColumnMapping:
        if self.catalog is not None and self.events.item_id is None:
            raise ValueError("a catalogue needs `events.item_id`")
        return self

    def columns(self) -> dict[str, str]:
        """Key of the mapping (`events.user_id`) → column that it names."""
        events = self.events
        named: dict[str, object] = {
            "events.kind.column": events.kind.column,
            "events.timestamp.column": events.timestamp.column,
            "events.consent.column": events.consent and events.consent.column,
        }
        for section, columns in (("events", events), ("catalog", self.catalog)):
            for key, value in columns.model_dump().items() if columns else ():
                if key != "category_separator" and not isinstance(value, dict):
                    named[f"{section}.{key}"] = value
        return {key: column for key, column in named.items() if isinstance(column, str)}


def read_mapping(path: Path) -> ColumnMapping:
    """The mapping in a YAML file; InvalidConfig names the key, its value and the remedy."""
    try:
        return ColumnMapping.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidConfig("mapping", str(path), f"it cannot be read ({error})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidConfig("mapping", str(path), f"it is not YAML ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "mapping"
        raise InvalidConfig(f"{path.name}: {key}", first["input"], first["msg"]) from error
