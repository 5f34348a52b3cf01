"""Time splits that refuse a leak: what is held out lies after everything that is learnt from.

training = read_training_data(log, as_of=cut, …)
held_out = hold_out(log, cut=cut, until=cut + timedelta(days=14), seed=1)
check_no_leak(training, held_out)
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.event_frame import after_newest, event_table
from recsys.dataset.frames import Frame
from recsys.dataset.training_data import TrainingData
from recsys.errors import InsufficientData, LeakFromFuture
from recsys.events.views import EventSource, name_of, open_log


@dataclass(frozen=True, slots=True)
class Truth:
    """What one person took in the held-out period: parallel, one entry per distinct item, by id.

    `quantities` are summed over the period; `revenues` are quantity · price in the shop's currency,
    NaN where no price was sent.
    """

    items: tuple[str, ...]
    quantities: NDArray[np.float64]
    revenues: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Persons with what they took in [cut, until), parallel and ordered by person key.

    Persons are resolved as of `until`, so that a visitor who logs in during the period is the
    customer; what a model may know of them is settled by its training data alone.
    """

    cut: datetime
    until: datetime
    persons: tuple[str, ...]
    truth: tuple[Truth, ...]

    def __len__(self) -> int:
        return len(self.persons)

    def __repr__(self) -> str:
        return f"<HeldOut {self.cut:%Y-%m-%d} to {self.until:%Y-%m-%d}: {len(self):,} persons>"

    @classmethod
    def from_events(
        cls,
        events: Frame,
        *,
        cut: datetime,
        until: datetime | None = None,
        kinds: Sequence[str] = ("purchase",),
        seed: int = 7,
    ) -> HeldOut:
        """What persons took in [cut, until) of a frame of events (`TrainingData.from_events`).

        `until` is the moment just after the newest event where it is not given. Raises as
        `hold_out` and `TrainingData.from_events` do.
        """
        table = event_table(events)
        end = after_newest(table) if until is None else until
        return hold_out(table, cut=cut, until=end, kinds=kinds, seed=seed)


def hold_out(
    log: EventSource,
    *,
    cut: datetime,
    until: datetime,
    seed: int,
    denied: Collection[str] = (),
    kinds: Sequence[str] = ("purchase",),
    sample: int = 20_000,
) -> HeldOut:
    """What a seeded sample of at most `sample` persons took in [cut, until).

    Taking is an event of one of `kinds`. `denied` are person keys that may not be personalised:
    they are left out. InsufficientData where nobody took anything; ValueError where the period is
    empty or `sample` is not positive.
    """
    if not cut < until:
        raise ValueError(f"cut {cut:%Y-%m-%d %H:%M} is not before until {until:%Y-%m-%d %H:%M}.")
    if sample < 1:
        raise ValueError(f"sample is {sample}; hold out at least one person.")
    with open_log(log, since=cut, until=until, denied=denied) as connection:
        connection.execute("CREATE TABLE taking AS SELECT unnest(?::VARCHAR[]) AS kind", [[*kinds]])
        persons = [str(person) for (person,) in connection.execute(PERSONS_SQL).fetchall()]
        if not persons:
            raise InsufficientData(
                f"Nobody known has a {' or '.join(kinds)} event between {cut:%Y-%m-%d} and "
                f"{until:%Y-%m-%d} in {name_of(log)}; hold out a longer period."
            )
        chosen = _sample(persons, sample, seed)
        connection.execute(CHOSEN_SQL, [chosen])
        taken = connection.sql(TAKEN_SQL).to_arrow_table()
    rows = np.searchsorted(taken["number"].to_numpy(), np.arange(len(chosen) + 1)).tolist()
    items = taken["item_id"].to_pylist()
    quantities = taken["quantity"].to_numpy().astype(np.float64)
    revenues = taken["revenue"].to_numpy().astype(np.float64)
    truth = tuple(
        Truth(tuple(items[start:end]), quantities[start:end], revenues[start:end])
        for start, end in itertools.pairwise(rows)
    )
    return HeldOut(cut, until, tuple(chosen), truth)


def check_no_leak(training_data: TrainingData, held_out: HeldOut) -> None:
    """Raises LeakFromFuture where the training data reach into the held-out period."""
    cut = held_out.cut
    if training_data.as_of > cut:
        raise LeakFromFuture(
            f"Training data as of {training_data.as_of.isoformat()} reach beyond the cut "
            f"{cut.isoformat()}; read them with as_of at or before the cut."
        )
    for name, times in (
        ("timeline", training_data.timeline.times),
        ("baskets", training_data.baskets.times),
        ("popularity", training_data.popularity.days),
        ("impressions", training_data.impressions.times),
        ("records", np.array([training_data.records.newest])),
    ):
        newest = float(times.max(initial=-np.inf))
        if newest >= cut.timestamp():
            raise LeakFromFuture(
                f"The {name} of the training data holds a time of "
                f"{datetime.fromtimestamp(newest, UTC).isoformat()}, at or after the cut "
                f"{cut.isoformat()}; read them again from the log with as_of at the cut."
            )


PERSONS_SQL = """
SELECT DISTINCT person FROM item_events JOIN taking USING (kind)
WHERE person IS NOT NULL ORDER BY person
"""

CHOSEN_SQL = """
CREATE TABLE chosen AS
    SELECT person, row_number() OVER (ORDER BY person) - 1 AS number
    FROM (SELECT unnest(?::VARCHAR[]) AS person)
"""

TAKEN_SQL = """
SELECT number, item_id, sum(quantity) AS quantity,
    coalesce(sum(quantity * price), 'nan'::DOUBLE) AS revenue
FROM item_events JOIN taking USING (kind) JOIN chosen USING (person)
GROUP BY number, item_id ORDER BY number, item_id
"""


def _sample(persons: list[str], size: int, seed: int) -> list[str]:
    if len(persons) <= size:
        return persons
    chosen = np.random.default_rng(seed).choice(len(persons), size, replace=False)
    return [persons[number] for number in np.sort(chosen)]
