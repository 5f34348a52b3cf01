"""`--task session`: visits that grow click by click; the next item is asked for.

Protocol of Serenade (Kersbergen, Sprangers, Schelter, SIGMOD 2022): one question after each click
but the last, the item just clicked is taken out of the list, measures are means over questions.
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
from training.benchmark.measures import SESSION
from training.benchmark.prepared import Prepared
from training.benchmark.protocols.files import Clicks, Numbering, read_clicks
from training.benchmark.spaces import Size
from training.benchmark.task_data import BenchmarkTask, EvalQueries, InteractionTable, training_data


def prepare(train: Path, valid: Path | None, test: Path) -> Prepared:
    """Without a validation file the newest visits of train validate, as many as the test has.

    What the test asks for and train never saw counts as missed.
    """
    numbering = Numbering()
    clicks = read_clicks(train, numbering)
    n_trained = len(numbering)
    asked = read_clicks(test, numbering)
    if valid is not None:
        validating = read_clicks(valid, numbering)
        learnt = clicks
    else:
        newest = _newest(clicks, len(np.unique(asked.sessions)))
        validating, learnt = _where(clicks, newest), _where(clicks, ~newest)
    items = numbering.vocabulary()
    test_exam = _exam(clicks, asked, items, n_trained)
    return Prepared(
        task="session",
        validation=_exam(learnt, validating, items, n_trained, data_of=test_exam)
        if learnt is clicks
        else _exam(learnt, validating, items, n_trained),
        test=test_exam,
        rules=SESSION,
        size=Size(len(np.unique(clicks.sessions)), len(items), len(clicks.items)),
        about=f"{len(clicks.items):,} clicks of {len(np.unique(clicks.sessions)):,} visits on "
        f"{n_trained:,} items; {len(test_exam):,} next items asked for",
    )


def _exam(
    learnt: Clicks,
    asked: Clicks,
    items: Vocabulary,
    n_trained: int,
    data_of: BenchmarkTask | None = None,
) -> BenchmarkTask:
    """Questions of `asked` on the data of `learnt`, or on those of another exam."""
    kind = KIND_NUMBER["view_item"]
    data = _training(learnt, items) if data_of is None else data_of.data
    starts = np.flatnonzero(np.diff(asked.sessions, prepend=-1) != 0)
    lengths = np.diff(np.append(starts, len(asked.items)))
    places = np.arange(len(asked.items))
    begins = np.repeat(starts, lengths)
    asks = places > begins
    # What the data do not know is not part of a history.
    known = asked.items < n_trained
    before = np.concatenate([[0], np.cumsum(known)])
    span = before[begins[asks]], before[places[asks]]
    return BenchmarkTask(
        data,
        EvalQueries(
            asked.items[known],
            asked.times[known],
            kind,
            span[0],
            span[1],
            visits=span[0],
            nows=asked.times[places[asks] - 1],
            known=False,
        ),
        [np.array([item], np.int32) for item in asked.items[asks].tolist()],
        [np.array([item], np.int32) for item in asked.items[places[asks] - 1].tolist()],
    )


def _training(clicks: Clicks, items: Vocabulary) -> TrainingData:
    _, visitors = np.unique(clicks.sessions, return_inverse=True)
    each = np.arange(len(clicks.items), dtype=np.int64)
    acts = InteractionTable(
        visitors.astype(np.int32),
        clicks.items,
        clicks.times,
        each,
        visitors.astype(np.int64),
    )
    return training_data(
        acts,
        n_users=int(visitors.max(initial=-1)) + 1,
        items=items,
        kind="view_item",
        as_of=datetime.fromtimestamp(float(clicks.times.max()) + 1.0, UTC),
    )


def _newest(clicks: Clicks, n: int) -> NDArray[np.bool_]:
    """The clicks of the n visits that ended last; InsufficientData where these are all."""
    visits, place = np.unique(clicks.sessions, return_inverse=True)
    ended = np.full(len(visits), -np.inf)
    np.maximum.at(ended, place, clicks.times)
    if n >= len(visits):
        raise InsufficientData(
            f"Train has {len(visits)} visits and the test {n}; give a validation file."
        )
    chosen = np.zeros(len(visits), np.bool_)
    chosen[np.argsort(ended, kind="stable")[-n:]] = True
    return np.asarray(chosen[place])


def _where(clicks: Clicks, chosen: NDArray[np.bool_]) -> Clicks:
    return Clicks(clicks.sessions[chosen], clicks.items[chosen], clicks.times[chosen])
