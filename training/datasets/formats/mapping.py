"""A column mapping: a YAML file that maps the columns of a table of events.

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
from recsys.events.schema import CATEGORY_SEPARATOR, EventKind

EPOCH_UNITS: Final[Mapping[str, float]] = {"epoch_seconds": 1.0, "epoch_milliseconds": 1_000.0}


class _MappingSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("use a name of the IANA list, such as UTC or Europe/Amsterdam")
    return name


class KindColumn(_MappingSection):
    """The event kind: a column with a map of its values, or the same for every row."""

    column: str | None = None
    """Column whose values are translated."""
    values: dict[str, EventKind | Literal["ignore"]] = Field(default_factory=dict)
    """Value in the file to event kind, or `ignore`; a row with another value is rejected."""
    always: EventKind | None = None
    """The same kind for every row, in place of a column."""

    @model_validator(mode="after")
    def _one_of_two(self) -> KindColumn:
        if (self.column is None) == (self.always is None):
            raise ValueError("give either `column` (with `values`) or `always`")
        if self.column is not None and not self.values:
            raise ValueError("say in `values` which value means which event kind")
        return self


class TimeColumn(_MappingSection):
    """The time of the event; `zone` is that of times without an offset."""

    column: str
    """Column of the time."""
    format: str = "iso"
    """`iso`, `epoch_seconds`, `epoch_milliseconds`, or a pattern such as `%d-%m-%Y %H:%M`."""
    zone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    """IANA name of the zone of times without an offset."""

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


class ConsentColumn(_MappingSection):
    """Which column holds the consent to personalisation, and which of its values mean yes."""

    column: str
    """Column of the consent."""
    granted: frozenset[str] = frozenset({"true", "True", "1", "yes"})
    """Values that mean yes; any other is a refusal, an empty cell states no consent."""


class EventColumns(_MappingSection):
    """Columns that make up an event; one row is one event with at most one item."""

    kind: KindColumn
    """What happened."""
    timestamp: TimeColumn
    """When it happened."""
    event_id: str | None = None
    """Id of the event; without it, it is made from the row's content and line."""
    user_id: str | None = None
    """Customer."""
    anonymous_id: str | None = None
    """Visitor where nobody is logged in."""
    session_id: str | None = None
    """Visit."""
    account_id: str | None = None
    """Company account of the customer."""
    item_id: str | None = None
    """Item."""
    price: str | None = None
    """Price of one unit."""
    quantity: str | None = None
    """How many; 1 where empty."""
    order_id: str | None = None
    """Rows with the same order id are one basket."""
    search_term: str | None = None
    """What was searched for."""
    rating: str | None = None
    """Rating from 0 to 100."""
    country: str | None = None
    """Country."""
    device: str | None = None
    """Device."""
    channel: str | None = None
    """Channel."""
    consent: ConsentColumn | None = None
    """Consent to personalisation as the file has it; without it say `--consent`."""


class CatalogColumns(_MappingSection):
    """Columns that describe the item of a row; the newest row of an item wins, cell by cell."""

    title: str | None = None
    """Title of the item."""
    category: str | None = None
    """Path from the widest category to the narrowest."""
    category_separator: Annotated[str, Field(min_length=1)] = CATEGORY_SEPARATOR
    """Sign between the steps of the path."""
    brand: str | None = None
    """Brand."""
    price: str | None = None
    """Price of one unit."""


class ColumnMapping(_MappingSection):
    """A mapping file: columns, formats of times, values of event kinds."""

    events: EventColumns
    """Columns that make up an event."""
    catalog: CatalogColumns | None = None
    """Columns that describe the item of a row; null leaves the catalogue as it is."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    """Currency of the prices, three capital letters."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """Sign between the columns of a CSV file."""

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
