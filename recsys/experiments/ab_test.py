"""What an A/B test says: per variant the measures with intervals, the lift, and a verdict in words.

The unit is the person. Whoever was answered by more than one variant is left out and counted. The
intervals hold for one look at the end of the time that was set; who looks every day will see
differences that are none.
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
"""Measure → what it is; of all, more is better."""
DETECTABLE: Final = 0.05
"""The lift for which the number of persons needed is told."""
_POWER: Final = 2.8
"""z(0.975) + z(0.8): what 80 % of the tests see of a true difference."""


class ExperimentRules(BaseModel):
    """When an experiment may be read, and by which measure it is decided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    primary: Measure = "conversion"
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    min_days: float = Field(default=14.0, ge=0)
    """Whole weeks, so that every weekday counts alike."""
    min_persons: int = Field(default=100, ge=2)
    """Per variant; fewer say nothing, and the intervals do not hold."""
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
    check, NaN with one variant; `crossed` are persons with several variants; `nobodys` answers
    without consent, which are no person's."""

    variants: tuple[VariantResult, ...]
    comparisons: tuple[Comparison, ...]
    since: datetime
    until: datetime
    split_p: float
    crossed: int
    nobodys: int
    verdict: tuple[str, ...]
    rules: ExperimentRules

    def of(self, challenger: str, measure: Measure) -> Comparison:
        """One comparison; KeyError where there is none."""
        for one in self.comparisons:
            if (one.challenger, one.measure) == (challenger, measure):
                return one
        raise KeyError((challenger, measure))


def experiment_report(
    told: Attributed,
    shares: Mapping[str, float],
    *,
    since: datetime,
    until: datetime,
    rules: ExperimentRules | None = None,
) -> ExperimentReport:
    """Evaluates the answers of [since, until) by variant; `shares` name the control first."""
    rules = rules or ExperimentRules()
    groups = _persons(told, list(shares), since.timestamp(), until.timestamp())
    variants = tuple(
        _result(told, groups, place, name, share)
        for place, (name, share) in enumerate(shares.items())
    )
    control, *challengers = variants
    comparisons = tuple(
        Comparison(
            one.name,
            measure,
            difference(
                one.measures[measure], control.measures[measure], confidence=rules.confidence
            ),
            lift(one.measures[measure], control.measures[measure], confidence=rules.confidence),
        )
        for one in challengers
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
        crossed=int((groups.variants == _CROSSED).sum()),
        nobodys=int((inside & (told.persons < 0)).sum()),
        verdict=tuple(_verdict(variants, comparisons, split_p, until - since, rules)),
        rules=rules,
    )


def sample_ratio(persons: Sequence[int], shares: Sequence[float]) -> float:
    """The p-value of χ² = Σ (observed − expected)² / expected: small where the split is broken."""
    observed = np.asarray(persons, np.float64)
    wanted = np.asarray(shares, np.float64)
    used = wanted > 0
    observed, wanted = observed[used], wanted[used]
    if len(wanted) < 2 or not observed.sum():
        return float("nan")
    expected = observed.sum() * wanted / wanted.sum()
    statistic = float(((observed - expected) ** 2 / expected).sum())
    return float(chi2.sf(statistic, len(wanted) - 1))


_CROSSED: Final = -2
_NOT_IN: Final = -1


@dataclass(frozen=True, slots=True)
class _Persons:
    """Per person the variant (place in the experiment, or one of the two codes) and what they did;
    `inside` says which answers count."""

    inside: NDArray[np.bool_]
    variants: NDArray[np.int64]
    answers: NDArray[np.float64]
    clicked: NDArray[np.float64]
    attributed: NDArray[np.float64]
    orders: NDArray[np.float64]
    revenue: NDArray[np.float64]
    days: NDArray[np.float64]


def _persons(told: Attributed, names: Sequence[str], since: float, until: float) -> _Persons:
    place_of_code = np.full(max(len(told.variant_names), 1), _NOT_IN, np.int64)
    for place, name in enumerate(names):
        code = told.variant_names.number(name)
        if code is not None:
            place_of_code[code] = place
    inside = (told.times >= since) & (told.times < until)
    if len(told):
        inside &= place_of_code[told.variants] >= 0
    counted = np.flatnonzero(inside & (told.persons >= 0))
    persons = told.persons[counted]
    size = int(max(told.persons.max(initial=-1), told.orders.persons.max(initial=-1))) + 1
    places = place_of_code[told.variants[counted]]
    lowest = np.full(size, len(names), np.int64)
    highest = np.full(size, _NOT_IN, np.int64)
    np.minimum.at(lowest, persons, places)
    np.maximum.at(highest, persons, places)
    variants = np.where(highest < 0, _NOT_IN, np.where(lowest == highest, highest, _CROSSED))
    first = np.full(size, np.inf)
    np.minimum.at(first, persons, told.times[counted])

    def summed(values: NDArray[np.generic]) -> NDArray[np.float64]:
        told = np.bincount(persons, weights=values.astype(np.float64), minlength=size)
        return np.asarray(told, np.float64)

    orders = told.orders
    after = (orders.times >= first[orders.persons]) & (orders.times < until)
    buyers = orders.persons[after]
    seen = np.unique(
        persons.astype(np.int64) * 100_000 + (told.times[counted] // SECONDS_PER_DAY).astype(int)
    )
    return _Persons(
        inside=inside,
        variants=variants,
        answers=summed(np.ones(len(counted))),
        clicked=summed(told.clicked[counted]),
        attributed=summed(told.revenue[counted]),
        orders=np.bincount(buyers, minlength=size).astype(np.float64),
        revenue=np.bincount(buyers, weights=orders.values[after], minlength=size).astype(
            np.float64
        ),
        days=np.bincount(seen // 100_000, minlength=size).astype(np.float64),
    )


def _result(
    told: Attributed, groups: _Persons, place: int, name: str, share: float
) -> VariantResult:
    chosen = groups.variants == place
    measures: dict[Measure, Ratio] = {
        "click_rate": ratio(groups.clicked[chosen], groups.answers[chosen]),
        "conversion": ratio((groups.orders[chosen] > 0).astype(np.float64)),
        "revenue_per_visitor": ratio(groups.revenue[chosen]),
        "attributed_revenue": ratio(groups.attributed[chosen]),
        "returning": ratio((groups.days[chosen] > 1).astype(np.float64)),
    }
    code = told.variant_names.number(name)
    served = told.versions[groups.inside & (told.variants == (-1 if code is None else code))]
    return VariantResult(
        name=name,
        share=share,
        versions=tuple(told.version_names.ids(np.unique(served))),
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
        counts = ", ".join(f"{one.name} {one.persons}" for one in variants)
        return [
            f"The split is broken (p = {split_p:.2g}): {counts} are not the shares that were set. "
            "The figures must not be read; find out first whose answers or outcomes get lost."
        ]
    few = [one for one in variants if one.persons < rules.min_persons]
    if few:
        return [
            f"Too early: {few[0].name} has {few[0].persons} persons; "
            f"{rules.min_persons} per variant are the least."
        ]
    told = []
    days = lasted / timedelta(days=1)
    if days < rules.min_days:
        told.append(
            f"Too early: it has run for {days:.1f} of {rules.min_days:g} days; what follows may "
            "still turn."
        )
    for one in comparisons:
        if one.measure == rules.primary:
            told.append(_in_words(one, variants, rules))
        elif one.direction < 0:
            told.append(f"Mind: {one.challenger} has a lower {_plain(one.measure)}{_lift(one)}.")
    return told


def _in_words(found: Comparison, variants: Sequence[VariantResult], rules: ExperimentRules) -> str:
    named, control = _plain(found.measure), variants[0]
    if found.direction:
        better = "higher" if found.direction > 0 else "lower"
        return (
            f"{found.challenger} has a {better} {named} than {control.name}{_lift(found)}, "
            f"{rules.confidence:.0%} interval."
        )
    ours = next(one for one in variants if one.name == found.challenger).measures[found.measure]
    needed = persons_needed(ours, control.measures[found.measure])
    more = (
        ""
        if needed is None
        else (f" To see a lift of {DETECTABLE:.0%} takes about {needed:,} persons per variant.")
    )
    return (
        f"No difference in {named} is proven between {found.challenger} and {control.name}"
        f"{_lift(found)}.{more}"
    )


def persons_needed(ours: Ratio, theirs: Ratio, *, detectable: float = DETECTABLE) -> int | None:
    """How many persons per variant see a lift of `detectable` in 80 % of the tests:
    (z₀.₉₇₅ + z₀.₈)² · (σ₁² + σ₂²) / δ²; None where the control has nothing to be lifted."""
    gap = detectable * theirs.value
    if not gap > 0 or not np.isfinite(ours.spread + theirs.spread):
        return None
    return int(np.ceil(_POWER**2 * (ours.spread**2 + theirs.spread**2) / gap**2))


def _lift(found: Comparison) -> str:
    value, low, high = found.lift
    return "" if np.isnan(value) else f" ({value:+.1%}, {low:+.1%} to {high:+.1%})"


def _plain(measure: str) -> str:
    return measure.replace("_", " ")
