"""`BundlePredictor`: a version as MLflow's `pyfunc`, a function from a frame to a frame.

The form in which data scientists try a version with `mlflow.pyfunc` or `mlflow models predict`; the
service does not use it. Without MLflow `recsys.load` and `recsys.open` give the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd

from recsys.bundle.bundle import Bundle
from recsys.bundle.save_load import load_bundle
from recsys.errors import InvalidInput
from recsys.opened_workspace import open_workspace
from recsys.recommender import Recommender

PARAMETERS: Final = ("workspace", "as_of")
"""What `params` may hold, as text; empty text counts as not given."""


@dataclass(frozen=True, slots=True)
class BundlePredictor:
    """Answers as of the version's own `as_of`, so that the same frame gives the same answers."""

    bundle: Bundle

    @classmethod
    def load(cls, directory: Path) -> BundlePredictor:
        """The predictor over a bundle directory; BundleError where it is damaged."""
        return cls(load_bundle(directory))

    def predict(
        self, questions: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row of answers per row of questions, under the same index.

        The columns are those of `Recommender.recommend`: a `history` of item ids with `kinds` and
        `times`, or a `user_id`; `seeds`, `country`, `k`, `placement`. No person is in MLflow: a
        `user_id` needs `params={"workspace": path}`, where the events are. `as_of` in `params` is
        the moment of asking (RFC 3339): the version's own where it is not given, just after the
        newest event of the workspace where there is one. Gives `item_ids`, `scores` and `sources`:
        lists, best first. InvalidInput names the column or parameter that is wrong.
        """
        given = {name: value for name, value in (params or {}).items() if value}
        unknown = sorted(set(given) - set(PARAMETERS))
        if unknown:
            raise InvalidInput("params", unknown[0], f"use {' and '.join(PARAMETERS)}")
        as_of = _moment(str(given["as_of"])) if "as_of" in given else None
        if "workspace" not in given:
            return Recommender(self.bundle).recommend(questions, as_of=as_of)
        with open_workspace(str(given["workspace"])) as workspace:
            return workspace.recommender(self.bundle, as_of=as_of).recommend(questions)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput("as_of", text, "give a time such as 2026-11-21T20:15:00Z") from error
    if moment.tzinfo is None:
        raise InvalidInput("as_of", text, "give the time with a zone: 2026-11-21T20:15:00Z")
    return moment
