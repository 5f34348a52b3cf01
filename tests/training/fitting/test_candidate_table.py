"""The tables in which blends are judged say what serving and evaluation would say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.dataset.splitting import HeldOut, hold_out
from recsys.dataset.training_data import TrainingData
from recsys.errors import LeakFromFuture
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.held_out_queries import live_catalog_as_of
from recsys.evaluation.objectives import Objective
from recsys.evaluation.report import EvaluationRules
from recsys.ids import Mask
from recsys.query.preferences import Exclusions, Preferences
from training.fitting.blend_weights import BlendObjective, coordinate_ascent, totals
from training.fitting.candidate_table import CandidateTable, part_of, tabulate

NAMES = ("repeat", "random_walk", "popularity")
WEIGHTS = np.array([0.5, 0.3, 0.2])
PLACEMENT = Placement(
    name="for_you", blend=dict(zip(NAMES, WEIGHTS.tolist(), strict=True)), fallback=()
)


@dataclass(frozen=True)
class TablePeriod:
    """A bundle and what happened after it."""

    bundle: Bundle
    data: TrainingData
    held_out: HeldOut
    eligible: Mask

    def table(self, objective: Objective = "conversions") -> tuple[CandidateTable, np.ndarray]:
        return tabulate(
            self.data,
            self.held_out,
            {name: self.bundle.models[name] for name in NAMES},
            PLACEMENT,
            eligible=self.eligible,
            objective=objective,
            sample=1000,
            n=20,
            rng=np.random.default_rng(1),
        )


@pytest.fixture(scope="module")
def period(bundle: Bundle, small_data: TrainingData, small_shop) -> TablePeriod:
    held_out = hold_out(small_shop.log, cut=small_data.as_of, until=small_shop.end, seed=1)
    eligible = live_catalog_as_of(bundle).eligible(held_out.cut)
    return TablePeriod(bundle, small_data, held_out, eligible)


@pytest.mark.parametrize(
    ("objective", "prefix"),
    [("conversions", ""), ("revenue", "revenue_"), ("returning_customers", "returning_customers/")],
)
def test_a_blend_is_worth_in_the_table_what_the_evaluation_measures(
    period: TablePeriod, objective: Objective, prefix: str
) -> None:
    table, parts = period.table(objective)
    (scores,) = totals([list(parts)], WEIGHTS)
    whole, unseen = table.measure(scores)
    bundle = replace(period.bundle, placements={"for_you": PLACEMENT})
    report = evaluate(
        bundle,
        period.data,
        period.held_out,
        rules=EvaluationRules(resamples=100),
        rng=np.random.default_rng(1),
    )
    measured = sum(report.estimates[f"{prefix}{name}_at_20"].value for name in ("recall", "ndcg"))
    assert whole == pytest.approx(measured, rel=1e-3)
    if objective == "conversions":
        new = sum(report.estimates[f"new_items/{name}_at_20"].value for name in ("recall", "ndcg"))
        assert unseen == pytest.approx(new, rel=1e-3)


@pytest.mark.parametrize("index", range(len(NAMES)))
def test_a_model_scored_alone_has_the_part_that_it_has_among_the_others(
    period: TablePeriod, index: int
) -> None:
    table, parts = period.table()
    queries = period.data.queries(table.persons, now=period.held_out.cut)
    alone = part_of(period.bundle.models[NAMES[index]], table, queries, PLACEMENT, period.eligible)
    np.testing.assert_allclose(alone, parts[index], rtol=1e-5, atol=1e-7)
    assert alone.any()


def test_items_of_a_refused_brand_may_not_be_shown(period: TablePeriod) -> None:
    before, _ = period.table()
    items = LiveCatalog.of(period.data.catalog).items
    shown = before.numbers[0][~before.excluded[0]]
    brand = items[shown[0]].brand
    assert brand is not None
    wishes = {before.persons[0]: Preferences(exclusions=Exclusions(brands=[brand]))}
    records = replace(period.data.records, preferences=wishes)
    after, _ = replace(period, data=replace(period.data, records=records)).table()
    left = after.numbers[0][~after.excluded[0]]
    assert set(left.tolist()) == {n for n in shown.tolist() if items[n].brand != brand}
    np.testing.assert_array_equal(after.excluded[1:], before.excluded[1:])


def test_the_value_of_the_start_is_one_and_ascending_never_lowers_it(period: TablePeriod) -> None:
    table, parts = period.table()
    start = np.array([0.0, 0.0, 1.0])
    blend_objective = BlendObjective.against(
        [table], totals([list(parts)], start), new_items_share=0.5
    )
    assert blend_objective.value(totals([list(parts)], start)) == pytest.approx(1.0)
    free = np.ones(len(NAMES), np.bool_)
    weights, value = coordinate_ascent(blend_objective, [list(parts)], start, free, sweeps=3)
    assert value > 1.05
    assert weights[0] + weights[1] > 0
    held = np.array([True, False, True])
    weights, _ = coordinate_ascent(blend_objective, [list(parts)], start, held, sweeps=3)
    assert weights[1] == 0.0


def test_padding_and_items_without_a_score_are_never_shown(period: TablePeriod) -> None:
    table, parts = period.table()
    assert table.excluded[table.numbers < 0].all()
    assert table.measure(np.zeros_like(parts[0])) == (0.0, 0.0)


def test_data_from_after_the_cut_are_refused(period: TablePeriod, small_shop) -> None:
    late = replace(period, data=small_shop.as_of(small_shop.end - timedelta(days=5)))
    with pytest.raises(LeakFromFuture):
        late.table()


def test_what_is_best_does_not_depend_on_where_it_started(period: TablePeriod) -> None:
    table, parts = period.table()
    tried = ([0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.0, 1.0, 0.0])
    blends = [totals([list(parts)], np.array(weights)) for weights in tried]
    blend_objectives = [
        BlendObjective.against([table], start, new_items_share=0.5) for start in blends[:2]
    ]
    worth = [
        [blend_objective.value(blend) for blend in blends] for blend_objective in blend_objectives
    ]
    ratio = worth[0][0] / worth[1][0]
    assert worth[0][0] == pytest.approx(1.0)
    np.testing.assert_allclose(worth[0], [ratio * value for value in worth[1]], rtol=1e-9)
