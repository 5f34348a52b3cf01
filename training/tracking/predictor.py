"""`BundlePredictor`: a bundle as a function from a table of questions to a table of answers.

The form in which data scientists try a version out in a notebook or with `mlflow models predict`;
the service does not use it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from recsys.bundle.bundle import Bundle
from recsys.bundle.save_load import load_bundle
from recsys.catalog.live import LiveCatalog
from recsys.errors import InvalidInput
from recsys.events.schema import EventKind
from recsys.query.history import StoredEvent
from recsys.query.query import Context, Query
from recsys.recommend.operations import Answer, recommend

DEFAULT_PLACEMENT: Final = "for_you"
DEFAULT_K: Final = 20
HISTORY_KIND: Final[EventKind] = "purchase"
"""What an item of a given history counts as."""
COLUMNS: Final = ("history", "seeds", "k", "placement", "country")


class _Question(NamedTuple):
    row: int
    query: Query


@dataclass(frozen=True, slots=True)
class BundlePredictor:
    """Answers as of the bundle's own `as_of`, so that the same table gives the same answers."""

    bundle: Bundle

    @classmethod
    def load(cls, directory: Path) -> BundlePredictor:
        """The predictor over a bundle directory; BundleError where it is damaged."""
        return cls(load_bundle(directory))

    def predict(self, questions: pd.DataFrame, params: object = None) -> pd.DataFrame:
        """One row of answers per row of questions, under the same index.

        Columns, all optional: `history` (list of item ids, oldest first, each counted as bought a
        moment ago), `seeds` (list of item ids: the page or the cart), `k` (default 20),
        `placement` (default for_you), `country`. Items that the bundle does not know are left out.
        Gives `item_ids`, `scores`, `sources`: lists, best first. InvalidInput names what is wrong.
        """
        unknown = [str(name) for name in questions.columns if name not in COLUMNS]
        if unknown:
            raise InvalidInput(unknown[0], "a column", f"use {', '.join(COLUMNS)}")
        batches: dict[tuple[str, int], list[_Question]] = defaultdict(list)
        records = [
            {str(name): value for name, value in record.items()}
            for record in questions.to_dict(orient="records")
        ]
        for row, record in enumerate(records):
            placement = _text(record.get("placement")) or DEFAULT_PLACEMENT
            k = _positive(record.get("k"), row)
            batches[placement, k].append(_Question(row, self._query(record)))
        answers: list[Answer] = [Answer(())] * len(records)
        for (name, k), batch in batches.items():
            for question, answer in zip(batch, self._answers(name, k, batch), strict=True):
                answers[question.row] = answer
        return pd.DataFrame(
            {
                "item_ids": [self.bundle.items.ids(answer.numbers) for answer in answers],
                "scores": [[item.score for item in answer.items] for answer in answers],
                "sources": [[item.source for item in answer.items] for answer in answers],
            },
            index=questions.index,
        )

    def _answers(self, name: str, k: int, batch: Sequence[_Question]) -> list[Answer]:
        placement = self.bundle.placement(name)
        if placement is None:
            offered = ", ".join(sorted(self.bundle.placements))
            raise InvalidInput("placement", name, f"this bundle has {offered}")
        live_catalog = LiveCatalog.of(self.bundle.catalog)
        return recommend(
            self.bundle, [question.query for question in batch], placement, live_catalog, k
        )

    def _query(self, record: dict[str, object]) -> Query:
        now = self.bundle.manifest.as_of
        ids = _ids(record.get("history"))
        newest = now.timestamp()
        # One second apart keeps the order without any decay worth the name.
        events = [
            StoredEvent(id, HISTORY_KIND, newest - (len(ids) - 1 - place))
            for place, id in enumerate(ids)
        ]
        return Query(
            now=now,
            history=self.bundle.history(events, now=now),
            seeds=self.bundle.items.known(_ids(record.get("seeds"))),
            context=Context(country=_text(record.get("country"))),
            known=bool(ids),
        )


def _ids(value: object) -> list[str]:
    if isinstance(value, str):
        raise InvalidInput("history or seeds", value, "send a list of item ids")
    if isinstance(value, Sequence | np.ndarray):
        return [str(id) for id in value]
    return []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _positive(value: object, row: int) -> int:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return DEFAULT_K
    if isinstance(value, int | float | np.integer) and value >= 1 and value == int(value):
        return int(value)
    raise InvalidInput(f"k of row {row}", value, "send a whole number of at least 1")
