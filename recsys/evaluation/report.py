"""`EvaluationRules`, how an evaluation is done, and `Report`, its result.

Names of measures: `recall_at_20`, `ndcg_at_20`, …; a slice stands before a slash, as in
`new_items/recall_at_20`. Plain names are over customers with a history; `revenue_…` counts every
item by what the customer paid for it in the period.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recsys.errors import InvalidInput
from recsys.evaluation.intervals import Estimate, Values
from recsys.evaluation.shop_metrics import Metric, metric_named


class EvaluationRules(BaseModel):
    """How an evaluation is done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    placement: str = "for_you"
    """The placement that is measured."""
    cutoffs: tuple[int, ...] = (1, 5, 10, 20)
    """Lengths of the list at which measures are taken."""
    sample: int = Field(default=20_000, ge=1)
    """At most so many customers, drawn with the seed."""
    resamples: int = Field(default=1000, ge=100)
    """Resamples of the bootstrap behind the intervals."""
    singles: bool = False
    """Whether each model of the placement is also measured alone."""
    metrics: tuple[str, ...] = ()
    """Metrics of the shop's own: entry points of the group `recsys.metrics` or paths
    `module:attribute` (`recsys.evaluation.shop_metrics`)."""

    @model_validator(mode="after")
    def _metrics_exist(self) -> EvaluationRules:
        try:
            metrics = self.shop_metrics()
        except InvalidInput as error:
            raise ValueError(str(error)) from error
        names = [metric.name for metric in metrics]
        if len(set(names)) < len(names):
            raise ValueError(f"two metrics have one name: {', '.join(names)}")
        for metric in metrics:
            if max(metric.cutoffs) > self.n:
                raise ValueError(
                    f"{metric.name} looks at {max(metric.cutoffs)} items and the lists have "
                    f"{self.n}; add {max(metric.cutoffs)} to `cutoffs`"
                )
        return self

    @property
    def n(self) -> int:
        """The length of the lists."""
        return max(self.cutoffs)

    def shop_metrics(self) -> tuple[Metric, ...]:
        """The metrics behind `metrics`."""
        return tuple(metric_named(name) for name in self.metrics)


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured over one period.

    `per_person[name]` has one value per held-out person, in one order for all names, NaN where
    the measure does not apply; `baselines[baseline]` likewise. `overall` are figures that belong to
    the lists as a whole (coverage, novelty).
    """

    cut: datetime
    until: datetime
    per_person: Mapping[str, Values]
    baselines: Mapping[str, Mapping[str, Values]]
    estimates: Mapping[str, Estimate]
    baseline_estimates: Mapping[str, Mapping[str, Estimate]]
    overall: Mapping[str, float]

    def metrics(self) -> dict[str, dict[str, object]]:
        """Name → {value, low, high, customers, baselines}, as JSON has it."""
        return {
            name: {
                "value": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "customers": estimate.customers,
                "baselines": {
                    baseline: measured[name].value
                    for baseline, measured in self.baseline_estimates.items()
                },
            }
            for name, estimate in self.estimates.items()
            if estimate.customers
        }
