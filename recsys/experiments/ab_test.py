"""A/B tests: measures per variant with intervals, lifts over the control, and a verdict as text.

The unit is the person. Whoever was answered by more than one variant is left out and counted. The
intervals are valid for one reading at the end of the planned time; repeated readings inflate the
rate of false positives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import chi2

from recsys.evaluation.intervals import Ratio, difference, lift, ratio
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.experiments.attribution import Attributed

Measure = Literal[
    "click_rate", "conversion", "revenue_per_visitor", "attributed_revenue", "returning"
]
MEASURES: Final[Mapping[Measure, str]] = {
    "click_rate": "share of the lists in which something was clicked",
    "conversion": "share of the persons who ordered after their first list",
    "revenue_per_visitor": "what a person ordered after their first list",
    "attributed_revenue": "what a person bought of the items in their lists",
    "returning": "share of the persons who were answered on a later day too",
}
"""Measure → what it means; higher is better for each."""
DETECTABLE: Final = 0.05
"""The lift for which the number of persons needed is given, relative to the control."""
_POWER: Final = 2.8
"""z(0.975) + z(0.8): the difference, in standard errors, that 80 % of the tests see."""


class ExperimentRules(BaseModel):
    """When an experiment may be read, and by which measure it is decided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    primary: Measure = "conversion"
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    min_days: float = Field(default=14.0, ge=0)
    """Whole weeks, so that every weekday counts alike."""
    min_persons: int = Field(default=100, ge=2)
    """Per variant; with fewer the intervals are not valid."""
    broken_split: float = Field(default=0.001, gt=0, lt=0.5)
    """The p-value below which the numbers of persons are not those of the shares."""


@dataclass(frozen=True, slots=True)
class VariantResult:
    """One variant: its persons, answers, versions that served it, and its measures."""

    name: str
    share: float
    versions: tuple[str, ...]
    persons: int
    answers: int
    measures: Mapping[Measure, Ratio]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A challenger against the control in one measure: value, low and high of each."""

    challenger: str
    measure: Measure
    difference: tuple[float, float, float]
    lift: tuple[float, float, float]

    @property
    def direction(self) -> int:
        """1 where the challenger is proven better, −1 worse, 0 neither."""
        _, low, high = self.difference
        return int(low > 0) - int(high < 0)


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """The result. The first variant is the control; `split_p` is the p-value of the sample-ratio
    check, NaN with one variant; `persons_in_several_variants` are left out;
    `answers_without_person` are those without consent."""

    variants: tuple[VariantResult, ...]
    comparisons: tuple[Comparison, ...]
    since: datetime
    until: datetime
    split_p: float
    persons_in_several_variants: int
    answers_without_person: int
    verdict: tuple[str, ...]
    rules: ExperimentRules

    def of(self, challenger: str, measure: Measure) -> Comparison:
        """One comparison; KeyError where there is none."""
        for comparison in self.comparisons:
            if (comparison.challenger, comparison.measure) == (challenger, measure):
                return comparison
        raise KeyError((challenger, measure))


def experiment_report(
    attributed: Attributed,
    shares: Mapping[str, float],
    *,
    since: datetime,
    until: datetime,
    rules: ExperimentRules | None = None,
) -> ExperimentReport:
    """Evaluates the answers of [since, until) by variant; `shares` name the control first."""
    rules = rules or ExperimentRules()
    groups = _persons(attributed, list(shares), since.timestamp(), until.timestamp())
    variants = tuple(
        _result(attributed, groups, number, name, share)
        for number, (name, share) in enumerate(shares.items())
    )
    control, *challengers = variants
    comparisons = tuple(
        Comparison(
            tested.name,
            measure,
            difference(
                tested.measures[measure], control.measures[measure], confidence=rules.confidence
            ),
            lift(tested.measures[measure], control.measures[measure], confidence=rules.confidence),
        )
        for tested in challengers
        for measure in MEASURES
    )
    split_p = sample_ratio(
        [variant.persons for variant in variants], [variant.share for variant in variants]
    )
    inside = groups.inside
    return ExperimentReport(
        variants=variants,
        comparisons=comparisons,
        since=since,
        until=until,
        split_p=split_p,
        persons_in_several_variants=int((groups.variants == _IN_SEVERAL).sum()),
        answers_without_person=int((inside & (attributed.persons < 0)).sum()),
        verdict=tuple(_verdict(variants, comparisons, split_p, until - since, rules)),
        rules=rules,
    )


def sample_ratio(persons: Sequence[int], shares: Sequence[float]) -> float:
    """The p-value of the sample-ratio check: small where the split is broken.

    χ² = Σ (observed − expected)² / expected with one degree of freedom less than variants.
    Fabijan et al.: Diagnosing sample ratio mismatch in online controlled experiments, KDD 2019.
    """
    observed = np.asarray(persons, np.float64)
    wanted = np.asarray(shares, np.float64)
    used = wanted > 0
    observed, wanted = observed[used], wanted[used]
    if len(wanted) < 2 or not observed.sum():
        return float("nan")
    expected = observed.sum() * wanted / wanted.sum()
    statistic = float(((observed - expected) ** 2 / expected).sum())
    return float(chi2.sf(statistic, len(wanted) - 1))


_IN_SEVERAL: Final = -2
_NOT_IN: Final = -1


@dataclass(frozen=True, slots=True)
class _Persons:
    """Per person the variant (number in the experiment, or _IN_SEVERAL, _NOT_IN) and what they did;
    `inside` says which answers count."""

    inside: NDArray[np.bool_]
    variants: NDArray[np.int64]
    answers: NDArray[np.float64]
    clicked: NDArray[np.float64]
    attributed: NDArray[np.float64]
    orders: NDArray[np.float64]
    revenue: NDArray[np.float64]
    days: NDArray[np.float64]


def _persons(attributed: Attributed, names: Sequence[str], since: float, until: float) -> _Persons:
    number_of_code = np.full(max(len(attributed.variant_names), 1), _NOT_IN, np.int64)
    for number, name in enumerate(names):
        code = attributed.variant_names.number(name)
        if code is not None:
            number_of_code[code] = number
    inside = (attributed.times >= since) & (attributed.times < until)
    if len(attributed):
        inside &= number_of_code[attributed.variants] >= 0
    counted = np.flatnonzero(inside & (attributed.persons >= 0))
    persons = attributed.persons[counted]
    size = (
        int(max(attributed.persons.max(initial=-1), attributed.orders.persons.max(initial=-1))) + 1
    )
    places = number_of_code[attributed.variants[counted]]
    lowest = np.full(size, len(names), np.int64)
    highest = np.full(size, _NOT_IN, np.int64)
    np.minimum.at(lowest, persons, places)
    np.maximum.at(highest, persons, places)
    variants = np.where(highest < 0, _NOT_IN, np.where(lowest == highest, highest, _IN_SEVERAL))
    first = np.full(size, np.inf)
    np.minimum.at(first, persons, attributed.times[counted])

    def summed(values: NDArray[np.generic]) -> NDArray[np.float64]:
        sums = np.bincount(persons, weights=values.astype(np.float64), minlength=size)
        return np.asarray(sums, np.float64)

    orders = attributed.orders
    after = (orders.times >= first[orders.persons]) & (orders.times < until)
    buyers = orders.persons[after]
    seen = np.unique(
        persons.astype(np.int64) * 100_000
        + (attributed.times[counted] // SECONDS_PER_DAY).astype(int)
    )
    return _Persons(
        inside=inside,
        variants=variants,
        answers=summed(np.ones(len(counted))),
        clicked=summed(attributed.clicked[counted]),
        attributed=summed(attributed.revenue[counted]),
        orders=np.bincount(buyers, minlength=size).astype(np.float64),
        revenue=np.bincount(buyers, weights=orders.values[after], minlength=size).astype(
            np.float64
        ),
        days=np.bincount(seen // 100_000, minlength=size).astype(np.float64),
    )


def _result(
    attributed: Attributed, groups: _Persons, number: int, name: str, share: float
) -> VariantResult:
    chosen = groups.variants == number
    measures: dict[Measure, Ratio] = {
        "click_rate": ratio(groups.clicked[chosen], groups.answers[chosen]),
        "conversion": ratio((groups.orders[chosen] > 0).astype(np.float64)),
        "revenue_per_visitor": ratio(groups.revenue[chosen]),
        "attributed_revenue": ratio(groups.attributed[chosen]),
        "returning": ratio((groups.days[chosen] > 1).astype(np.float64)),
    }
    code = attributed.variant_names.number(name)
    served = attributed.versions[
        groups.inside & (attributed.variants == (-1 if code is None else code))
    ]
    return VariantResult(
        name=name,
        share=share,
        versions=tuple(attributed.version_names.ids(np.unique(served))),
        persons=int(chosen.sum()),
        answers=int(groups.answers[chosen].sum()),
        measures={measure: measures[measure] for measure in get_args(Measure)},
    )


def _verdict(
    variants: Sequence[VariantResult],
    comparisons: Sequence[Comparison],
    split_p: float,
    lasted: timedelta,
    rules: ExperimentRules,
) -> list[str]:
    if len(variants) < 2:
        return ["Only one variant is served: there is nothing to compare."]
    if split_p < rules.broken_split:
        counts = ", ".join(f"{variant.name} {variant.persons}" for variant in variants)
        return [
            f"The split is broken (p = {split_p:.2g}): {counts} are not the shares that were set. "
            "The figures must not be read; find out first whose answers or outcomes get lost."
        ]
    few = [variant for variant in variants if variant.persons < rules.min_persons]
    if few:
        return [
            f"Too early: {few[0].name} has {few[0].persons} persons; "
            f"{rules.min_persons} per variant are the least."
        ]
    sentences = []
    days = lasted / timedelta(days=1)
    if days < rules.min_days:
        sentences.append(
            f"Too early: it has run for {days:.1f} of {rules.min_days:g} days; what follows may "
            "still turn."
        )
    for comparison in comparisons:
        if comparison.measure == rules.primary:
            sentences.append(_conclusion(comparison, variants, rules))
        elif comparison.direction < 0:
            sentences.append(
                f"Mind: {comparison.challenger} has a lower {_plain(comparison.measure)}"
                f"{_lift(comparison)}."
            )
    return sentences


def _conclusion(
    comparison: Comparison, variants: Sequence[VariantResult], rules: ExperimentRules
) -> str:
    named, control = _plain(comparison.measure), variants[0]
    if comparison.direction:
        better = "higher" if comparison.direction > 0 else "lower"
        return (
            f"{comparison.challenger} has a {better} {named} than {control.name}"
            f"{_lift(comparison)}, {rules.confidence:.0%} interval."
        )
    ours = next(v for v in variants if v.name == comparison.challenger).measures[comparison.measure]
    needed = persons_needed(ours, control.measures[comparison.measure])
    more = (
        ""
        if needed is None
        else (f" To see a lift of {DETECTABLE:.0%} takes about {needed:,} persons per variant.")
    )
    return (
        f"No difference in {named} is proven between {comparison.challenger} and {control.name}"
        f"{_lift(comparison)}.{more}"
    )


def persons_needed(ours: Ratio, theirs: Ratio, *, detectable: float = DETECTABLE) -> int | None:
    """Persons per variant with which 80 % of the tests see a lift of `detectable`; None where the
    control's measure is 0.

    n = (z₀.₉₇₅ + z₀.₈)² · (σ₁² + σ₂²) / δ², δ = detectable · control.
    Kohavi, Tang, Xu: Trustworthy Online Controlled Experiments, 2020, ch. 17.
    """
    gap = detectable * theirs.value
    if not gap > 0 or not np.isfinite(ours.spread + theirs.spread):
        return None
    return int(np.ceil(_POWER**2 * (ours.spread**2 + theirs.spread**2) / gap**2))


def _lift(comparison: Comparison) -> str:
    value, low, high = comparison.lift
    return "" if np.isnan(value) else f" ({value:+.1%}, {low:+.1%} to {high:+.1%})"


def _plain(measure: str) -> str:
    return measure.replace("_", " ")
