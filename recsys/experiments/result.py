"""An experiment's report as plain figures without a person in it, for files, MLflow and HTTP."""

from __future__ import annotations

from datetime import datetime

import msgspec
import numpy as np

from recsys.experiments.ab_test import ExperimentReport


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A value with its interval; null where there is too little to say."""

    value: float | None
    low: float | None
    high: float | None


class VariantFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One variant: its share, the versions that served it, and its measures."""

    name: str
    share: float
    model_versions: list[str]
    persons: int
    answers: int
    measures: dict[str, Figure]


class ComparisonFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A challenger against the control in one measure."""

    challenger: str
    measure: str
    difference: Figure
    lift: Figure


class ExperimentResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an experiment says. The first variant is the control; `sample_ratio_p` is small where
    the split is broken, null with one variant."""

    experiment: str
    since: datetime
    until: datetime
    primary: str
    confidence: float
    sample_ratio_p: float | None
    persons_with_several_variants: int
    answers_of_nobody: int
    verdict: list[str]
    variants: list[VariantFigures]
    comparisons: list[ComparisonFigures]


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
        persons_with_several_variants=report.crossed,
        answers_of_nobody=report.nobodys,
        verdict=list(report.verdict),
        variants=[
            VariantFigures(
                name=one.name,
                share=one.share,
                model_versions=list(one.versions),
                persons=one.persons,
                answers=one.answers,
                measures={
                    measure: _figure(found.value, *found.interval(confidence=confidence))
                    for measure, found in one.measures.items()
                },
            )
            for one in report.variants
        ],
        comparisons=[
            ComparisonFigures(
                challenger=one.challenger,
                measure=one.measure,
                difference=_figure(*one.difference),
                lift=_figure(*one.lift),
            )
            for one in report.comparisons
        ],
    )


def _figure(value: float, low: float, high: float) -> Figure:
    return Figure(value=_finite(value), low=_finite(low), high=_finite(high))


def _finite(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
