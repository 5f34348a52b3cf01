"""Daily KPIs of the recommendations: clicks, carts, sales and returning persons.

Days are UTC days. Aggregates without any person, as `GET /v1/kpi` returns them.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from recsys.events.weighting import SECONDS_PER_DAY
from recsys.experiments.attribution import Attributed
from recsys.experiments.figures import Kpis, PlacementDay, ShopDay


def kpis(attributed: Attributed, *, since: datetime) -> Kpis:
    """The tables from the day of `since` on; earlier answers only decide who is returning."""
    first = int(since.timestamp() // SECONDS_PER_DAY)
    days = _days(attributed.times)
    order_days = _days(attributed.orders.times)
    shown = np.unique(np.concatenate([days[days >= first], order_days[order_days >= first]]))
    first_seen = _first_days(attributed.persons, days)
    return Kpis(
        placements=[
            _placement(
                attributed,
                np.flatnonzero((days == day) & (attributed.placements == code)),
                day,
                name,
            )
            for day in shown.tolist()
            for code, name in enumerate(attributed.placement_names)
            if np.any((days == day) & (attributed.placements == code))
        ],
        days=[_shop(attributed, days, order_days, first_seen, day) for day in shown.tolist()],
    )


def _placement(
    attributed: Attributed, rows: NDArray[np.int64], day: int, name: str
) -> PlacementDay:
    clicked, bought = int(attributed.clicked[rows].sum()), int(attributed.bought[rows].sum())
    persons = attributed.persons[rows]
    return PlacementDay(
        date=_date(day),
        placement=name,
        lists=len(rows),
        persons=len(np.unique(persons[persons >= 0])),
        seen=int(attributed.seen[rows].sum()),
        clicked=clicked,
        carted=int(attributed.carted[rows].sum()),
        bought=bought,
        revenue=round(float(attributed.revenue[rows].sum()), 2),
        click_rate=round(clicked / len(rows), 4),
        conversion=round(bought / len(rows), 4),
    )


def _shop(
    attributed: Attributed,
    days: NDArray[np.int64],
    order_days: NDArray[np.int64],
    first_seen: NDArray[np.int64],
    day: int,
) -> ShopDay:
    persons = np.unique(attributed.persons[(days == day) & (attributed.persons >= 0)])
    values = attributed.orders.values[order_days == day]
    revenue = float(values.sum())
    return ShopDay(
        date=_date(day),
        persons=len(persons),
        returning=int((first_seen[persons] < day).sum()),
        orders=len(values),
        revenue=round(revenue, 2),
        order_value=round(revenue / len(values), 2) if len(values) else None,
    )


def _first_days(persons: NDArray[np.int32], days: NDArray[np.int64]) -> NDArray[np.int64]:
    first_days = np.full(int(persons.max(initial=-1)) + 1, np.iinfo(np.int64).max, np.int64)
    known = persons >= 0
    np.minimum.at(first_days, persons[known], days[known])
    return first_days


def _days(times: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.asarray(times // SECONDS_PER_DAY, np.int64)


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * SECONDS_PER_DAY, UTC).date().isoformat()
