"""The daily figures: clicks, sales and who came back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from recsys.experiments.attribution import Attributed, Orders
from recsys.experiments.figures import PlacementDay, ShopDay
from recsys.experiments.kpi import kpis
from recsys.ids import Vocabulary

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
TUESDAY = MONDAY + timedelta(days=1)


def hours(*since_monday: float) -> np.ndarray:
    return np.array([(MONDAY + timedelta(hours=h)).timestamp() for h in since_monday])


@pytest.fixture
def attributed() -> Attributed:
    """Ann on Monday and Tuesday, Ben and a stranger on Tuesday; two placements."""
    return Attributed(
        times=hours(10, 26, 26, 27, 28),
        placements=np.array([0, 0, 1, 0, 0], np.int32),
        variants=np.zeros(5, np.int32),
        versions=np.zeros(5, np.int32),
        persons=np.array([0, 0, 0, 1, -1], np.int32),
        seen=np.array([True, True, True, False, False]),
        clicked=np.array([True, False, True, True, False]),
        carted=np.array([True, False, True, False, False]),
        bought=np.array([False, False, True, False, False]),
        revenue=np.array([0.0, 0.0, 12.5, 0.0, 0.0]),
        orders=Orders(
            persons=np.array([0, 1], np.int32),
            times=hours(30, 31),
            values=np.array([20.0, 5.0]),
        ),
        placement_names=Vocabulary(["for_you", "similar"]),
        variant_names=Vocabulary(["champion"]),
        version_names=Vocabulary(["v1"]),
    )


def test_a_placements_day_is_counted(attributed: Attributed) -> None:
    rows = {(row.date, row.placement): row for row in kpis(attributed, since=MONDAY).placements}
    assert set(rows) == {
        ("2026-11-02", "for_you"),
        ("2026-11-03", "for_you"),
        ("2026-11-03", "similar"),
    }
    assert rows["2026-11-03", "for_you"] == PlacementDay(
        date="2026-11-03",
        placement="for_you",
        lists=3,
        persons=2,
        seen=1,
        clicked=1,
        carted=0,
        bought=0,
        revenue=0.0,
        click_rate=0.3333,
        conversion=0.0,
    )
    assert rows["2026-11-03", "similar"].revenue == 12.5


def test_who_came_on_an_earlier_day_returns(attributed: Attributed) -> None:
    monday, tuesday = kpis(attributed, since=MONDAY).days
    assert (monday.persons, monday.returning, monday.orders) == (1, 0, 0)
    assert monday.order_value is None
    assert tuesday == ShopDay(
        date="2026-11-03", persons=2, returning=1, orders=2, revenue=25.0, order_value=12.5
    )


def test_earlier_days_only_say_who_returns(attributed: Attributed) -> None:
    tables = kpis(attributed, since=TUESDAY)
    assert [day.date for day in tables.days] == ["2026-11-03"]
    assert tables.days[0].returning == 1
    assert {row.date for row in tables.placements} == {"2026-11-03"}


def test_nothing_happened_where_nothing_was_asked(attributed: Attributed) -> None:
    nobody = replace(
        attributed,
        **{
            name: getattr(attributed, name)[:0]
            for name in (
                "times",
                "placements",
                "variants",
                "versions",
                "persons",
                "seen",
                "clicked",
                "carted",
                "bought",
                "revenue",
            )
        },
        orders=Orders(
            *(getattr(attributed.orders, name)[:0] for name in ("persons", "times", "values"))
        ),
    )
    tables = kpis(nobody, since=MONDAY)
    assert (tables.placements, tables.days) == ([], [])
