"""Events counted by device and channel, and the custom events of known persons.

`TrainingData.context_counts` holds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.ids import Numbers, Vocabulary

COUNTED_FIELDS: Final = ("channel", "device")
"""Fields of an event's context that are counted; the country is in `Popularity.countries`."""


@dataclass(frozen=True, slots=True)
class CustomEvents:
    """The `custom` events of known persons, each once: parallel arrays.

    `names` are codes into `name_names`; `times` epoch seconds.
    """

    users: Numbers
    names: NDArray[np.int32]
    times: NDArray[np.float64]
    name_names: Vocabulary


@dataclass(frozen=True, slots=True)
class ContextCounts:
    """Events per value of a context field, item, kind and day: parallel arrays.

    `groups` are codes into `names`, which are written `device=mobile`. Events of unknown persons
    are counted too. `days` are midnight UTC, epoch seconds.
    """

    groups: NDArray[np.int32]
    items: Numbers
    kinds: NDArray[np.int8]
    days: NDArray[np.float64]
    counts: NDArray[np.float64]
    names: Vocabulary
    custom_events: CustomEvents


def no_context_counts() -> ContextCounts:
    """No counts and no custom events."""
    none, nothing = np.empty(0, np.int32), np.empty(0)
    custom_events = CustomEvents(none, none, nothing, Vocabulary([]))
    kinds = np.empty(0, np.int8)
    return ContextCounts(none, none, kinds, nothing, nothing, Vocabulary([]), custom_events)


def read_context_counts(connection: duckdb.DuckDBPyConnection) -> ContextCounts:
    """The counts of `item_events` and the custom events of `person_events`.

    The tables `items`, `kinds` and `users` of the training data must exist.
    """
    counts = " UNION ALL ".join(COUNTS_SQL.format(trait=trait) for trait in COUNTED_FIELDS)
    table = connection.sql(f"{counts} ORDER BY 1, 2, 3, 4").to_arrow_table()
    groups, names = _coded(table["name"])
    return ContextCounts(
        groups=groups,
        items=table["item"].to_numpy().astype(np.int32),
        kinds=table["kind"].to_numpy().astype(np.int8),
        days=table["day"].to_numpy().astype(np.float64),
        counts=table["count"].to_numpy().astype(np.float64),
        names=names,
        custom_events=_custom_events(connection),
    )


def _custom_events(connection: duckdb.DuckDBPyConnection) -> CustomEvents:
    table = connection.sql(CUSTOM_EVENTS_SQL).to_arrow_table()
    codes, names = _coded(table["name"])
    return CustomEvents(
        users=table["user"].to_numpy().astype(np.int32),
        names=codes,
        times=table["time"].to_numpy().astype(np.float64),
        name_names=names,
    )


def _coded(names: pa.ChunkedArray) -> tuple[NDArray[np.int32], Vocabulary]:
    coded = pa.concat_arrays([pa.array([], pa.string()), *names.chunks]).dictionary_encode()
    distinct = coded.dictionary.to_pylist()
    vocabulary = Vocabulary.of(distinct)
    return vocabulary.numbers(distinct)[coded.indices.to_numpy()], vocabulary


COUNTS_SQL: Final = """
SELECT '{trait}=' || {trait} AS name, i.number AS item, k.kind_number AS kind,
    floor(epoch(timestamp) / 86400) * 86400 AS day, count(DISTINCT event_id)::DOUBLE AS count
FROM item_events JOIN items i USING (item_id) JOIN kinds k USING (kind)
WHERE {trait} IS NOT NULL GROUP BY ALL
"""

CUSTOM_EVENTS_SQL: Final = """
SELECT DISTINCT u.number AS "user", name, epoch(timestamp) AS time
FROM person_events JOIN users u USING (person)
WHERE kind = 'custom' AND name IS NOT NULL ORDER BY 1, 3, 2
"""
