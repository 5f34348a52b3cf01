"""Time to refill: which of the items that a user bought are due again now.

A mixture cure model of the time between two purchases of an item by a user: with some probability
it is bought again at all, and then after a log-normal time (Boag, JRSS B 1949; for repeat purchases
Bhagat et al., Buy it again, KDD 2018). Users, items and categories with few purchases are shrunk to
the level above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import ndtr

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.events.schema import PURCHASE
from recsys.events.weighting import SECONDS_PER_DAY
from recsys.ids import NONE, Array, Numbers
from recsys.models.family import ModelFamily
from recsys.models.protocol import Contribution, Contributions, Scorer, short_repr
from recsys.models.scoring.saved_arrays import array_of, setting_of
from recsys.models.scoring.sparse_scores import SparseScorer, stacked
from recsys.models.search_space import Range
from recsys.query.history import History
from recsys.query.query import Query

COUNTS: Final = 5
"""Own purchases 1, 2, … and `COUNTS or more` have chances of their own."""
DUE: Final = 0.1
"""An item is due when this share of its intervals is shorter than its age."""
EARLY: Final = 0.8
"""Without a model an item is due at this share of the user's mean interval."""
HABIT: Final = 0.1
"""An item bought once is habitual where this share of its buyers buys it again."""
LEAST_SPREAD: Final = 0.2
"""The least standard deviation of ln(days): nobody is punctual to the hour."""


class RefillConfig(BaseModel):
    """`horizon_days` is how far ahead "now" reaches. The priors are numbers of intervals or
    purchases of the level above that are mixed in: into a person, an item, a category."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    horizon_days: float = Field(default=30.0, gt=0)
    own_prior: float = Field(default=2.0, gt=0)
    item_prior: float = Field(default=10.0, gt=0)
    category_prior: float = Field(default=50.0, gt=0)
    chance_prior: float = Field(default=10.0, gt=0)


@dataclass(frozen=True, slots=True)
class RefillModel:
    """score(j) = chance that j is bought in the next H days, by whom a days ago it was bought last:

        ρ · (F(a + H) − F(a)) / (1 − ρ · F(a)),   F(t) = Φ((ln t − μ) / σ).

    ρ is the chance that somebody who has bought j so many times (`COUNTS`) ever does again, μ the
    mean of ln(days between purchases) of j, moved towards the person's own intervals, σ its spread.
    Purchases on one UTC day are one. No opinion on items that the person never bought.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    chances: NDArray[np.float32]
    """Items × COUNTS: ρ."""
    means: NDArray[np.float32]
    """Per item μ."""
    spread: float
    horizon_days: float
    own_prior: float

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Reads each person's last purchases and own intervals."""
        n_items = len(self.means)
        due = [self._due(query.history, query.now.timestamp()) for query in queries]
        rows = stacked(due, n_columns=n_items)

        def contributions(_row: int, item: int) -> Contributions:
            return (Contribution("history", 1.0, item=item),)

        return SparseScorer(
            n_items=n_items,
            sizes=np.diff(rows.indptr).astype(np.int64),
            rows_of=lambda first, last: rows[first:last],
            contributions=contributions,
        )

    def _due(self, history: History, now: float) -> tuple[Numbers, NDArray[np.float32]]:
        if not len(history):
            return NONE, np.empty(0, np.float32)
        items, counts, lasts, log_gaps = own_rhythm(history.items, history.kinds, history.times)
        # The mean of n personal intervals and `own_prior` intervals of the item's mean.
        means = (log_gaps + self.own_prior * self.means[items]) / (counts - 1 + self.own_prior)
        ages = np.maximum(now / SECONDS_PER_DAY - lasts, 0.5)
        chances = self.chances[items, np.minimum(counts, COUNTS) - 1]
        before = distribution(ages, means, self.spread)
        within = distribution(ages + self.horizon_days, means, self.spread) - before
        scores = chances * within / (1.0 - chances * before)
        return items, scores.astype(np.float32)

    def arrays(self) -> Mapping[str, Array]:
        """The chances, the means and the settings."""
        return {
            "chances": self.chances,
            "means": self.means,
            "spread": np.array(self.spread),
            "horizon_days": np.array(self.horizon_days),
            "own_prior": np.array(self.own_prior),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> RefillModel:
        """The model over the same memory; BundleError where an array is missing or misshapen."""
        chances = array_of(arrays, "chances", dimensions=2)
        means = array_of(arrays, "means", dimensions=1)
        if chances.shape != (len(means), COUNTS):
            raise BundleError(
                f"Array 'chances' is {chances.shape}, not {(len(means), COUNTS)}; "
                "rebuild the bundle."
            )
        return cls(
            chances,
            means,
            setting_of(arrays, "spread"),
            setting_of(arrays, "horizon_days"),
            setting_of(arrays, "own_prior"),
        )


@dataclass(frozen=True, slots=True)
class PurchaseDays:
    """The days on which users bought items: parallel arrays by user, item, day, each once.

    `days` are days since 1970; `firsts` the index of the first day of each (user, item).
    """

    users: Numbers
    items: Numbers
    days: NDArray[np.float64]
    firsts: NDArray[np.int64]

    @classmethod
    def of(cls, users: Numbers, items: Numbers, times: NDArray[np.float64]) -> PurchaseDays:
        """The days of these purchases (times in epoch seconds), which may come in any order."""
        days = np.floor(times / SECONDS_PER_DAY)
        order = np.lexsort((days, items, users))
        users, items, days = users[order], items[order], days[order]
        new_pair, new_day = np.ones(len(users), np.bool_), np.ones(len(users), np.bool_)
        new_pair[1:] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
        new_day[1:] = new_pair[1:] | (days[1:] != days[:-1])
        return cls(users[new_day], items[new_day], days[new_day], np.flatnonzero(new_pair[new_day]))

    def counts(self) -> NDArray[np.int64]:
        """On how many days each (user, item) was bought."""
        return np.diff(np.append(self.firsts, len(self.days)))

    def lasts(self) -> NDArray[np.int64]:
        """The index of the last day of each (user, item)."""
        return self.firsts + self.counts() - 1

    def log_gaps(self) -> NDArray[np.float64]:
        """ln(days since the purchase before); NaN for the first of each (user, item)."""
        gaps = np.diff(self.days, prepend=np.nan)
        gaps[self.firsts] = np.nan
        return np.log(gaps)


def fit_refill(
    data: TrainingData, config: RefillConfig, *, rng: np.random.Generator
) -> RefillModel:
    """Means and chances per item, each shrunk: person → item → category → everything.

    ρ = Σ bought again / Σ F(time seen since), over the purchases: the chance to have seen the next
    one by now is ρ · F. Intervals longer than the window are not seen, so μ leans to the short.
    """
    del rng
    timeline, n_items = data.timeline, len(data.items)
    chosen = timeline.kinds == PURCHASE
    days = PurchaseDays.of(timeline.users[chosen], timeline.items[chosen], timeline.times[chosen])
    log_gaps = days.log_gaps()
    again = np.isfinite(log_gaps)
    gaps, of_items = log_gaps[again], days.items[again]
    overall = float(gaps.mean()) if len(gaps) else float(np.log(config.horizon_days))
    sums = _summed(of_items, gaps, n_items)
    numbers = _summed(of_items, np.ones(len(gaps)), n_items)
    category = data.catalog.categories
    from_category = np.full(n_items, overall)
    known = category >= 0
    if known.any():
        n_categories = len(data.catalog.category_names)
        of_category = _shrunk(
            _summed(category[known], sums[known], n_categories),
            _summed(category[known], numbers[known], n_categories),
            overall,
            config.category_prior,
        )
        from_category[known] = of_category[category[known]]
    means = _shrunk(sums, numbers, from_category, config.item_prior)
    spread = float(np.sqrt(np.mean((gaps - means[of_items]) ** 2))) if len(gaps) else 1.0
    spread = max(spread, LEAST_SPREAD)
    chances = _chances(data, days, means, spread, config.chance_prior)
    return RefillModel(
        chances.astype(np.float32),
        means.astype(np.float32),
        spread,
        config.horizon_days,
        config.own_prior,
    )


def due_again(
    history: History, now: float, model: RefillModel | None
) -> tuple[Numbers, NDArray[np.bool_]]:
    """Distinct items that the person bought (ascending), and which of them are due again.

    Due is what is bought by habit (on two days or more, or by at least HABIT of its buyers again)
    and was bought last so long ago that F(age) ≥ DUE, with μ moved towards the person's own: the
    more punctual a shop's customers, the nearer to the whole interval. Without a model only the
    person's own intervals are known.
    """
    if not len(history):
        return NONE, np.empty(0, np.bool_)
    items, counts, lasts, log_gaps = own_rhythm(history.items, history.kinds, history.times)
    ages = np.maximum(now / SECONDS_PER_DAY - lasts, 0.5)
    if model is None:
        usual = np.exp(log_gaps / np.maximum(counts - 1, 1))
        return items, (counts >= 2) & (ages >= EARLY * usual)
    means = (log_gaps + model.own_prior * model.means[items]) / (counts - 1 + model.own_prior)
    chances = model.chances[items, np.minimum(counts, COUNTS) - 1]
    habit = (counts >= 2) | (chances >= HABIT)
    return items, habit & (distribution(ages, means, model.spread) >= DUE)


@njit(cache=True, nogil=True)
def own_rhythm(
    items: Numbers, kinds: NDArray[np.int8], times: NDArray[np.float64]
) -> tuple[Numbers, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Of a history (oldest first): the distinct items bought, ascending, on how many days each, the
    last of them, and Σ ln(days from one to the next)."""
    bought = np.flatnonzero(kinds == PURCHASE)
    order = bought[np.argsort(items[bought], kind="mergesort")]
    distinct = np.empty(len(order), np.int32)
    counts = np.empty(len(order), np.int64)
    lasts = np.empty(len(order), np.float64)
    log_gaps = np.empty(len(order), np.float64)
    slot = -1
    for row in order:
        day = np.floor(times[row] / SECONDS_PER_DAY)
        if slot < 0 or items[row] != distinct[slot]:
            slot += 1
            distinct[slot], counts[slot], lasts[slot], log_gaps[slot] = items[row], 1, day, 0.0
        elif day > lasts[slot]:
            log_gaps[slot] += np.log(day - lasts[slot])
            counts[slot] += 1
            lasts[slot] = day
    kept = slice(0, slot + 1)
    return distinct[kept], counts[kept], lasts[kept], log_gaps[kept]


def distribution(
    days: NDArray[np.float64], means: NDArray[np.floating], spread: float
) -> NDArray[np.float64]:
    """F: the chance that an interval is at most so many days."""
    return np.asarray(ndtr((np.log(days) - means) / spread), np.float64)


def _chances(
    data: TrainingData,
    days: PurchaseDays,
    means: NDArray[np.float64],
    spread: float,
    prior: float,
) -> NDArray[np.float64]:
    """ρ per item and number of own purchases, shrunk to that of all items."""
    n_items = len(means)
    rank = np.arange(len(days.days)) - np.repeat(days.firsts, days.counts())
    followed = np.ones(len(days.days), np.bool_)
    followed[days.lasts()] = False
    seen_days = np.maximum(data.as_of.timestamp() / SECONDS_PER_DAY - days.days, 0.5)
    seen = distribution(seen_days, means[days.items], spread)
    cells = days.items.astype(np.int64) * COUNTS + np.minimum(rank, COUNTS - 1)
    size = n_items * COUNTS
    again = _summed(cells, followed.astype(np.float64), size).reshape(n_items, COUNTS)
    exposed = _summed(cells, seen, size).reshape(n_items, COUNTS)
    overall = (again.sum(axis=0) + 0.5) / (exposed.sum(axis=0) + 1.0)
    return np.clip(_shrunk(again, exposed, np.minimum(overall, 1.0), prior), 0.0, 0.999)


def _summed(
    cells: NDArray[np.integer], values: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    return np.asarray(np.bincount(cells, weights=values, minlength=size), np.float64)


def _shrunk(
    sums: NDArray[np.float64],
    numbers: NDArray[np.float64],
    towards: float | NDArray[np.float64],
    prior: float,
) -> NDArray[np.float64]:
    """(sum + prior · towards) / (number + prior)."""
    return np.asarray((sums + prior * towards) / (numbers + prior), np.float64)


FAMILY: Final = ModelFamily(
    config=RefillConfig,
    fit=fit_refill,
    model=RefillModel,
    level="individual",
    labels={"en": "due again", "nl": "weer nodig"},
    needs=frozenset({"history"}),
    search_space={
        "horizon_days": Range(7, 60),
        "own_prior": Range(0.5, 8),
        "item_prior": Range(2, 50),
        "chance_prior": Range(2, 50),
    },
    paper=(
        "Bhagat, Muralidharan, Lobzhanidze, Vishwanath: Buy it again: modeling repeat purchase "
        "recommendations, KDD 2018"
    ),
    helps="Consumables that are used up at a steady pace; needs repeated purchases per customer.",
)
