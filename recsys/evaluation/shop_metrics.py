"""Metrics of the shop's own, measured beside the built-in ones.

In a file `shop/metrics.py` that Python finds:

    PROFIT = Metric("profit", (10,), lambda lists, truth: [...one number per list...])

In the training configuration: `evaluation: {metrics: ["shop.metrics:PROFIT"]}`, or the name of an
entry point. The result is named `profit_at_10` and is logged and compared like the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.errors import InvalidInput
from recsys.plugins import Group, resolve

IdLists = Sequence[Sequence[str]]
GROUP: Final[Group] = "recsys.metrics"
BUILT_IN: Final = frozenset({"recall", "ndcg", "hit_rate", "precision", "mrr"})


@dataclass(frozen=True, slots=True)
class Metric:
    """`function(lists, truth)` gives one number per query; NaN where the metric does not apply.

    `lists` are the recommended item ids, the best first, cut at each of `cutoffs`; `truth` are the
    ids of the items that the person chose afterwards. More is better, as for every metric.
    InvalidInput where the name or a cutoff cannot be one.
    """

    name: str
    cutoffs: tuple[int, ...]
    function: Callable[[IdLists, IdLists], ArrayLike]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or self.name in BUILT_IN:
            raise InvalidInput(
                "metric name", self.name, "use lower-case letters, digits and _; no built-in name"
            )
        if not self.cutoffs or min(self.cutoffs) < 1:
            raise InvalidInput(f"cutoffs of {self.name}", self.cutoffs, "give each at least 1")

    def values(self, lists: IdLists, truth: IdLists) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """`name_at_k` → one float64 per query, for each cutoff k.

        InvalidInput where the function gives another number of values than there are queries.
        """
        for k in self.cutoffs:
            cut = [items[:k] for items in lists]
            values = np.asarray(self.function(cut, truth), np.float64)
            if values.shape != (len(lists),):
                raise InvalidInput(
                    f"metric {self.name}",
                    f"{values.shape} values for {len(lists)} queries",
                    "give one number per query",
                )
            yield f"{self.name}_at_{k}", values


def metric_named(name: str) -> Metric:
    """The metric behind an entry point of `recsys.metrics` or a path `module:attribute`.

    InvalidInput where there is none, or what is there is no Metric.
    """
    metric = resolve(name, GROUP)
    if not isinstance(metric, Metric):
        raise InvalidInput(GROUP, name, f"it is of type {type(metric).__name__}; make it a Metric")
    return metric
