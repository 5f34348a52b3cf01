"""Popularity within the query's groups: country, device, customer group, rule-made segment.

The counts of a small group are shrunk to everybody's shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from scipy.sparse import csr_array

from recsys.dataset.context_counts import COUNTED_FIELDS
from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.events.schema import KIND_NUMBER
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import NONE, Array, Numbers, Scores, Vocabulary, is_user_key
from recsys.models.family import ModelFamily
from recsys.models.popularity.popularity import (
    PopularityConfig,
    event_weights,
    row_weights,
    weighted_counts,
)
from recsys.models.protocol import Contribution, Contributions, Scorer, short_repr
from recsys.models.scoring.group_scores import GroupScorer
from recsys.models.scoring.saved_arrays import (
    array_of,
    setting_of,
    sparse_arrays,
    sparse_of,
    text_array,
    text_of,
)
from recsys.query.profile import Profile
from recsys.query.query import Query
from recsys.query.segments import Segment

TRAIT: Final = "traits."
"""What a declared trait's name begins with in `by`: `traits.diet`."""
FIXED: Final = ("country", "customer_group", "weekday", "segment", *COUNTED_FIELDS)


class SegmentPopularityConfig(PopularityConfig):
    """`by` names what makes a group: country, customer_group, device, channel, weekday, segment
    (the rule-made `segments`) and declared traits (`traits.diet`).

    `prior` counts at everybody's shares are mixed into each group.
    """

    half_life_days: float | None = Field(default=30.0, gt=0)
    by: tuple[str, ...] = ("country", "device", "customer_group", "segment")
    prior: float = Field(default=50.0, gt=0)
    segments: tuple[Segment, ...] = ()

    @field_validator("by")
    @classmethod
    def _known(cls, by: tuple[str, ...]) -> tuple[str, ...]:
        for name in by:
            if name not in FIXED and not (name.startswith(TRAIT) and len(name) > len(TRAIT)):
                raise ValueError(f"{name!r} makes no group; use {', '.join(FIXED)} or traits.NAME")
        return by


@dataclass(frozen=True, slots=True)
class SegmentPopularityModel:
    """score(j) = mean over the query's groups g of (n_gj + prior · p_j) / (n_g + prior).

    n_gj counts item j in the group, n_g all of it, p_j is everybody's share of j. No opinion where
    no group is known. `counts` is groups × items; groups are named `device=mobile`.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    groups: Vocabulary
    counts: csr_array
    shares: NDArray[np.float32]
    prior: float
    by: tuple[str, ...]
    segments: tuple[Segment, ...] = ()
    sizes: NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", np.asarray(self.counts.sum(axis=1)).ravel())

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Looks up the groups that each query belongs to; equal ones are summed up once."""
        groups_of_query = [self._groups_of(query) for query in queries]
        distinct = {groups: index for index, groups in enumerate(dict.fromkeys(groups_of_query))}
        named = list(distinct)

        def contributions(row: int, item: int) -> Contributions:
            return self._contributions(groups_of_query[row], item)

        return GroupScorer(
            groups=[distinct[groups] if groups else None for groups in groups_of_query],
            scores_of=lambda index: self._scores(named[index]),
            contributions=contributions,
        )

    def _groups_of(self, query: Query) -> tuple[int, ...]:
        numbers = (self.groups.number(name) for name in groups_of(query, self.by))
        return tuple(number for number in numbers if number is not None)

    def _scores(self, groups: Sequence[int]) -> Scores:
        weights = 1.0 / (self.sizes[list(groups)] + self.prior) / len(groups)
        scores = self.shares * np.float32(self.prior * weights.sum())
        for group, weight in zip(groups, weights.tolist(), strict=True):
            span = slice(self.counts.indptr[group], self.counts.indptr[group + 1])
            scores[self.counts.indices[span]] += self.counts.data[span] * np.float32(weight)
        scores[scores <= 0] = np.nan
        return scores.astype(np.float32, copy=False)

    def _contributions(self, groups: Sequence[int], item: int) -> Contributions:
        """What each group adds beyond everybody, and what everybody adds."""
        weights = 1.0 / (self.sizes[list(groups)] + self.prior)
        added = np.array([self.counts[group, item] for group in groups]) * weights
        everybody = float(self.shares[item] * self.prior * weights.sum())
        total = max(float(added.sum()) + everybody, 1e-30)
        contributions = [
            Contribution("trait", part / total, trait=self.groups.id(group).partition("=")[0])
            for group, part in zip(groups, added.tolist(), strict=True)
            if part > 0
        ]
        if everybody > 0:
            contributions.append(Contribution("everybody", everybody / total))
        return tuple(sorted(contributions, key=lambda contribution: -contribution.share))

    def arrays(self) -> Mapping[str, Array]:
        """Names, counts, shares, the prior and the rules of the segments."""
        rules = [segment.model_dump_json(exclude_unset=True) for segment in self.segments]
        return {
            "groups": text_array(self.groups.ids()),
            **sparse_arrays("counts", self.counts),
            "shares": self.shares,
            "prior": np.array(self.prior),
            "by": text_array(self.by),
            "segments": text_array(rules),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> SegmentPopularityModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        groups = Vocabulary(text_of(arrays, "groups"))
        counts = sparse_of(arrays, "counts")
        shares = array_of(arrays, "shares", dimensions=1)
        if counts.shape != (len(groups), len(shares)):
            raise BundleError(
                f"Arrays 'counts'_* make {counts.shape} for {len(groups)} groups and "
                f"{len(shares)} items; rebuild the bundle."
            )
        return cls(
            groups,
            counts,
            shares,
            setting_of(arrays, "prior"),
            tuple(text_of(arrays, "by")),
            tuple(Segment.model_validate_json(rule) for rule in text_of(arrays, "segments")),
        )


def groups_of(query: Query, by: Sequence[str]) -> Iterator[str]:
    """The names of the groups that a query belongs to."""
    for name in by:
        if name == "segment":
            yield from (f"segment={segment}" for segment in query.segments)
        elif name == "weekday":
            weekday = query.context.weekday
            yield f"weekday={query.now.astimezone(UTC).weekday() if weekday is None else weekday}"
        elif name == "country":
            if query.country is not None:
                yield f"country={query.country}"
        elif name in COUNTED_FIELDS:
            value = getattr(query.context, name)
            if value is not None:
                yield f"{name}={value}"
        else:
            yield from _declared(query.profile, name)


def fit_segment_popularity(
    data: TrainingData, config: SegmentPopularityConfig, *, rng: np.random.Generator
) -> SegmentPopularityModel:
    """Decayed counts within each group.

    A country, device, channel or weekday counts everybody's events; a customer group, trait or
    segment those of the customers who belong to it as of the data, whatever a segment says of the
    moment.
    """
    del rng
    counted = [*_of_everybody(data, config), *_of_customers(data, config)]
    names = [name for part in counted for name in part.names]
    first = np.cumsum([0, *(len(part.names) for part in counted)])
    groups = [part.groups + start for part, start in zip(counted, first.tolist(), strict=False)]
    counts = csr_array(
        (
            np.concatenate([np.empty(0), *(part.weights for part in counted)]),
            (
                np.concatenate([NONE, *groups]),
                np.concatenate([NONE, *(part.items for part in counted)]),
            ),
        ),
        shape=(len(names), len(data.items)),
    )
    counts.sum_duplicates()
    counts.data[counts.data < 0] = 0.0
    counts.eliminate_zeros()
    overall = weighted_counts(data, config, config.half_life_days)
    return SegmentPopularityModel(
        Vocabulary(names),
        csr_array(counts.astype(np.float32)),
        (overall / max(float(overall.sum()), 1e-30)).astype(np.float32),
        config.prior,
        config.by,
        config.segments,
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    """Rows that count `weights` for `items` in one of the groups `names`; `groups` are codes."""

    names: Sequence[str]
    groups: NDArray[np.int32]
    items: Numbers
    weights: NDArray[np.float64]


def _of_everybody(data: TrainingData, config: SegmentPopularityConfig) -> Iterator[_Counted]:
    """Countries, weekdays, channels and devices."""
    popularity = data.popularity
    weights = row_weights(data, config, config.half_life_days)
    if "country" in config.by:
        known = popularity.countries >= 0
        yield _Counted(
            [f"country={country}" for country in popularity.country_names],
            popularity.countries[known],
            popularity.items[known],
            weights[known],
        )
    if "weekday" in config.by:
        # 1970-01-01 was a Thursday.
        weekdays = (np.floor(popularity.days / SECONDS_PER_DAY).astype(np.int32) + 3) % 7
        names = [f"weekday={day}" for day in range(7)]
        yield _Counted(names, weekdays, popularity.items, weights)
    counted = data.context_counts
    wanted = [name.partition("=")[0] in config.by for name in counted.names]
    if any(wanted):
        kept = np.array(wanted)[counted.groups]
        codes = (np.cumsum(wanted) - 1).astype(np.int32)[counted.groups[kept]]
        each = event_weights(
            data, config, config.half_life_days, counted.kinds[kept], counted.days[kept]
        )
        names = [name for name, want in zip(counted.names, wanted, strict=True) if want]
        yield _Counted(names, codes, counted.items[kept], counted.counts[kept] * each)


def _of_customers(data: TrainingData, config: SegmentPopularityConfig) -> Iterator[_Counted]:
    """Customer groups, declared traits and rule-made segments."""
    timeline = data.timeline
    weights = event_weights(data, config, config.half_life_days, timeline.kinds, timeline.times)
    for by in config.by:
        if by != "customer_group" and not by.startswith(TRAIT):
            continue
        values = [next(_declared(profile, by), "") for profile in data.profiles]
        names = Vocabulary.of(name for name in values if name)
        groups = names.numbers(values)[timeline.users]
        kept = groups >= 0
        yield _Counted(names.ids(), groups[kept], timeline.items[kept], weights[kept])
    if "segment" in config.by:
        for segment in config.segments:
            kept = members(segment, data)[timeline.users]
            none = np.zeros(int(kept.sum()), np.int32)
            yield _Counted([f"segment={segment.name}"], none, timeline.items[kept], weights[kept])


def members(segment: Segment, data: TrainingData) -> NDArray[np.bool_]:
    """Which users a segment holds as of the data, by what is declared and done; what it says of the
    moment counts as fulfilled."""
    belongs = np.fromiter(
        (segment.admits(profile, profile.country) for profile in data.profiles),
        np.bool_,
        len(data.users),
    )
    if segment.known is not None:
        customers = np.fromiter(map(is_user_key, data.users), np.bool_)
        belongs &= customers == segment.known
    for count in segment.events:
        done = _times(data, count.event, count.name, count.days)
        belongs &= done >= count.at_least
        if count.at_most is not None:
            belongs &= done <= count.at_most
    if segment.points is not None:
        days = segment.points.days
        total = np.zeros(len(data.users))
        for rule in segment.points.events:
            total += rule.points * _times(data, rule.event, rule.name, days)
        belongs &= total >= segment.points.at_least
    return belongs


def _times(
    data: TrainingData, kind: str, name: str | None, days: float | None
) -> NDArray[np.int64]:
    """How many events of a kind each user has had, those of one moment as one."""
    since = -np.inf if days is None else data.as_of.timestamp() - days * SECONDS_PER_DAY
    if kind == "custom":
        custom = data.context_counts.custom_events
        code = None if name is None else custom.name_names.number(name)
        chosen = (custom.times >= since) & (name is None or custom.names == code)
        users, times = custom.users[chosen], custom.times[chosen]
    else:
        timeline = data.timeline
        chosen = (timeline.kinds == KIND_NUMBER[kind]) & (timeline.times >= since)
        chosen &= name is None
        users, times = timeline.users[chosen], timeline.times[chosen]
    moments = np.unique(np.stack([users, times]), axis=1)[0].astype(np.int64)
    return np.bincount(moments, minlength=len(data.users))


def _declared(profile: Profile, by: str) -> Iterator[str]:
    """The name of the group that a declared trait makes; none where it is not declared."""
    if by == "customer_group":
        value: object = profile.customer_group
    else:
        value = profile.traits.get(by.removeprefix(TRAIT))
    if value is not None:
        yield f"{by}={value}"


FAMILY: Final = ModelFamily(
    config=SegmentPopularityConfig,
    fit=fit_segment_popularity,
    model=SegmentPopularityModel,
    level="segment",
    labels={"en": "popular with people like you", "nl": "populair bij klanten zoals jij"},
    needs=frozenset({"country", "traits"}),
    reason="popular_in_segment",
    helps="Customers without a history whose country, device, group or segment is known.",
)
