"""`--task session`: visits that grow click by click; the next item is predicted.

Protocol of Serenade (Kersbergen, Sprangers, Schelter, SIGMOD 2022): one query after each click but
the last, the item just clicked is excluded from the list, metrics are means over queries.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.training_data import TrainingData
from recsys.errors import InsufficientData
from recsys.events.schema import KIND_NUMBER
from recsys.ids import Vocabulary
from training.benchmark.metrics import SESSION
from training.benchmark.protocols.files import Clicks, Numbering, read_clicks
from training.benchmark.task_data import (
    BenchmarkTask,
    EvalQueries,
    InteractionTable,
    PreparedSet,
    SetSize,
    training_data,
)


def prepare(train: Path, valid: Path | None, test: Path) -> PreparedSet:
    """Without a validation file the newest visits of train validate, as many as the test has.

    A test item that train lacks counts as missed.
    """
    numbering = Numbering()
    clicks = read_clicks(train, numbering)
    n_trained = len(numbering)
    test_clicks = read_clicks(test, numbering)
    validating = None if valid is None else read_clicks(valid, numbering)
    items = numbering.vocabulary()
    data = _training_data(clicks, items)
    if validating is None:
        newest = _newest(clicks, len(np.unique(test_clicks.sessions)))
        validating = clicks.where(newest)
        validation = _task(_training_data(clicks.where(~newest), items), validating, n_trained)
    else:
        validation = _task(data, validating, n_trained)
    test_task = _task(data, test_clicks, n_trained)
    n_visits = len(np.unique(clicks.sessions))
    return PreparedSet(
        task="session",
        validation=validation,
        test=test_task,
        metrics=SESSION,
        size=SetSize(n_visits, len(items), len(clicks.items)),
        about=f"{len(clicks.items):,} clicks of {n_visits:,} visits on {n_trained:,} items; "
        f"{len(test_task):,} next items predicted",
    )


def _task(data: TrainingData, clicks: Clicks, n_trained: int) -> BenchmarkTask:
    """One query per click of `clicks` but the first of each visit."""
    starts = np.flatnonzero(np.diff(clicks.sessions, prepend=-1) != 0)
    lengths = np.diff(np.append(starts, len(clicks.items)))
    positions = np.arange(len(clicks.items))
    begins = np.repeat(starts, lengths)
    predicted = np.flatnonzero(positions > begins)
    # Items that the training data lack are not part of a history.
    known = clicks.items < n_trained
    n_before = np.concatenate([[0], np.cumsum(known)])
    first, end = n_before[begins[predicted]], n_before[predicted]
    return BenchmarkTask(
        data,
        EvalQueries(
            clicks.items[known],
            clicks.times[known],
            KIND_NUMBER["view_item"],
            first,
            end,
            visits=first,
            nows=clicks.times[predicted - 1],
            known=False,
        ),
        truth=list(clicks.items[predicted][:, np.newaxis]),
        excluded=list(clicks.items[predicted - 1][:, np.newaxis]),
    )


def _training_data(clicks: Clicks, items: Vocabulary) -> TrainingData:
    _, visitors = np.unique(clicks.sessions, return_inverse=True)
    return training_data(
        InteractionTable(visitors.astype(np.int32), clicks.items, clicks.times),
        n_users=int(visitors.max(initial=-1)) + 1,
        items=items,
        kind="view_item",
        as_of=datetime.fromtimestamp(float(clicks.times.max()) + 1.0, UTC),
    )


def _newest(clicks: Clicks, n: int) -> NDArray[np.bool_]:
    """The clicks of the n visits that ended last; InsufficientData where these are all."""
    visits, positions = np.unique(clicks.sessions, return_inverse=True)
    ended = np.full(len(visits), -np.inf)
    np.maximum.at(ended, positions, clicks.times)
    if n >= len(visits):
        raise InsufficientData(
            f"Train has {len(visits)} visits and the test {n}; give a validation file."
        )
    chosen = np.zeros(len(visits), np.bool_)
    chosen[np.argsort(ended, kind="stable")[-n:]] = True
    return np.asarray(chosen[positions])
