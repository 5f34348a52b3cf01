"""An experiment's report as plain figures without a person in it, for files, MLflow and HTTP."""

from __future__ import annotations

import numpy as np

from recsys.experiments.ab_test import ExperimentReport
from recsys.experiments.figures import (
    ComparisonFigures,
    ExperimentResult,
    Figure,
    VariantFigures,
)


def result_of(report: ExperimentReport, *, experiment: str) -> ExperimentResult:
    """The figures of a report."""
    confidence = report.rules.confidence
    return ExperimentResult(
        experiment=experiment,
        since=report.since,
        until=report.until,
        primary=report.rules.primary,
        confidence=confidence,
        sample_ratio_p=_finite(report.split_p),
        persons_with_several_variants=report.persons_in_several_variants,
        answers_of_nobody=report.answers_without_person,
        verdict=list(report.verdict),
        variants=[
            VariantFigures(
                name=variant.name,
                share=variant.share,
                model_versions=list(variant.versions),
                persons=variant.persons,
                answers=variant.answers,
                measures={
                    measure: _figure(ratio.value, *ratio.interval(confidence=confidence))
                    for measure, ratio in variant.measures.items()
                },
            )
            for variant in report.variants
        ],
        comparisons=[
            ComparisonFigures(
                challenger=comparison.challenger,
                measure=comparison.measure,
                difference=_figure(*comparison.difference),
                lift=_figure(*comparison.lift),
            )
            for comparison in report.comparisons
        ],
    )


def _figure(value: float, low: float, high: float) -> Figure:
    return Figure(value=_finite(value), low=_finite(low), high=_finite(high))


def _finite(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
