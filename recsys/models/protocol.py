"""`Model` and `Scorer`: what every model family is, and the scored items that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from recsys.ids import Array, Mask, Numbers, Scores
from recsys.query.query import Query


@dataclass(frozen=True, slots=True)
class ScoredItems:
    """Items with their scores, best first, no NaN."""

    numbers: Numbers
    scores: Scores

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class Contribution:
    """How much one thing that is known added to a score.

    `kind` is `history`, `seed`, `trait` or `everybody`; `item` the row number of the history item
    or seed, None otherwise; `share` a fraction of the score.
    """

    kind: str
    share: float
    item: int | None = None
    trait: str | None = None


Contributions = tuple[Contribution, ...]


class Scorer(Protocol):
    """A model that has folded a batch of queries in; one row per query."""

    def retrieve(self, n: int, eligible: Mask) -> list[ScoredItems]:
        """Each row's best n among the eligible items; empty where the model has no opinion."""
        ...

    def score(self, items: Sequence[Numbers]) -> list[Scores]:
        """One score per item asked for, row by row; NaN where the model has no opinion."""
        ...

    def explain(self, row: int, item: int) -> Contributions:
        """What made the score, largest share first; empty where the model has no opinion."""
        ...


@runtime_checkable
class Model(Protocol):
    """A trained model: a function of a query. Saved as named arrays, never pickled.

    `from_arrays(model.arrays())` gives the same model back; arrays may be memory-mapped.
    """

    stores_user_data: ClassVar[bool]

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Folds the queries in, once per batch. A batch gives what its single queries give."""
        ...

    def arrays(self) -> Mapping[str, Array]:
        """The saved form: names → arrays (float, int or bool; text as JSON in uint8)."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Model:
        """The model that was saved; raises BundleError where an array is missing or misshapen."""
        ...


def short_repr(model: Model) -> str:
    """`__repr__` of model classes: the class and the shapes of its saved arrays."""
    shapes = [
        f"{name} {' × '.join(map(str, array.shape))}"
        for name, array in model.arrays().items()
        if array.ndim
    ]
    beyond = ", …" if len(shapes) > 4 else ""
    return f"<{type(model).__name__}: {', '.join(shapes[:4])}{beyond}>"
