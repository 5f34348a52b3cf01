"""Click rates of items per search term, corrected for position bias.

The rate of an item under a term is counted over the lists in which it was probably examined
(`position_bias`) and shrunk to the item's rate under all terms, which is shrunk to the shop's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recsys.dataset.impressions import BOUGHT, CLICKED, IN_CART, Impressions, plain_term
from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.events.weighting import half_life_decay
from recsys.ids import NONE, Array
from recsys.models.family import ModelFamily
from recsys.models.popularity.popularity import EVERYBODY
from recsys.models.popularity.position_bias import LAST_POSITION, position_bias
from recsys.models.protocol import Scorer, short_repr
from recsys.models.scoring.saved_arrays import array_of, sparse_arrays, sparse_of
from recsys.models.scoring.sparse_scores import Row, RowScorer
from recsys.query.query import Query


class SearchClicksConfig(BaseModel):
    """`cart` and `purchase` are worth so many clicks; `prior` counts examined lists.

    `min_visits` leaves out terms with fewer visits, for privacy: a rare term may identify a person.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cart: float = Field(default=2.0, ge=0)
    purchase: float = Field(default=4.0, ge=0)
    prior: float = Field(default=5.0, gt=0)
    half_life_days: float | None = Field(default=90.0, gt=0)
    min_visits: int = Field(default=3, ge=1)
    severity: float = Field(default=0.5, ge=0, le=1)
    """How far positions are accounted for: position_bias^severity. An engine that puts the best
    first makes low positions look less examined than they are, so 1 goes too far; 0 counts every
    item of a list as looked at."""


@dataclass(frozen=True, slots=True)
class SearchClicksModel:
    """score(j) = the rate at which the query's search term leads to j, in clicks per examined list.

    No opinion without a search term, on terms that are not known and on items that were never
    shown for the term. `codes` are ascending codes of the terms, which cannot be read; `rates` is
    terms × items, csr float32.
    """

    stores_user_data: ClassVar[bool] = False
    __repr__ = short_repr

    codes: NDArray[np.uint64]
    rates: csr_array

    def condition(self, queries: Sequence[Query]) -> Scorer:
        """Looks the terms up."""
        return RowScorer(
            n_items=self.rates.shape[1],
            rows=[self._row(query.context.search_term) for query in queries],
            contributions=lambda _row, _item: EVERYBODY,
        )

    def _row(self, term: str | None) -> Row:
        if term:
            code = term_codes([term])[0]
            row = int(np.searchsorted(self.codes, code))
            if row < len(self.codes) and self.codes[row] == code:
                span = slice(self.rates.indptr[row], self.rates.indptr[row + 1])
                return self.rates.indices[span], self.rates.data[span]
        return NONE, np.empty(0, np.float32)

    def arrays(self) -> Mapping[str, Array]:
        """The terms' codes and the rates."""
        return {"codes": self.codes, **sparse_arrays("rates", self.rates)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> SearchClicksModel:
        """The model that was saved; BundleError where an array is missing or misshapen."""
        codes = array_of(arrays, "codes", dimensions=1, kind="u")
        rates = sparse_of(arrays, "rates")
        if len(codes) != rates.shape[0]:
            raise BundleError(
                f"There are {len(codes)} codes for {rates.shape[0]} terms; rebuild the bundle."
            )
        return cls(codes, rates)


def fit_search_clicks(
    data: TrainingData, config: SearchClicksConfig, *, rng: np.random.Generator
) -> SearchClicksModel:
    """The rates of every item under every term for which it was shown.

    rate(t, i) = (gain(t, i) + prior · rate(i)) / (examined(t, i) + prior), with rate(i) drawn in
    the same way to the shop's; gain counts a click as 1, all decayed by age.
    """
    del rng
    lists = data.impressions
    gains, examined = exposures(lists, config, now=data.as_of.timestamp())
    n_items = len(data.items)
    overall = gains.sum() / max(float(examined.sum()), 1e-30)
    of_item = (np.bincount(lists.items, gains, minlength=n_items) + config.prior * overall) / (
        np.bincount(lists.items, examined, minlength=n_items) + config.prior
    )
    kept = _known_terms(lists, config.min_visits)
    codes = term_codes(lists.term_names.ids(kept.astype(np.int32)))
    order = np.argsort(codes)
    row_of_term = np.full(len(lists.term_names) + 1, -1, np.int64)
    row_of_term[kept[order]] = np.arange(len(kept))
    rows = row_of_term[lists.terms[lists.of_rows()]]
    chosen = np.flatnonzero(rows >= 0)
    cells, cell = np.unique(rows[chosen] * n_items + lists.items[chosen], return_inverse=True)
    items = cells % max(n_items, 1)
    rates = (np.bincount(cell, gains[chosen]) + config.prior * of_item[items]) / (
        np.bincount(cell, examined[chosen]) + config.prior
    )
    starts = np.searchsorted(cells, np.arange(len(kept) + 1) * n_items)
    shape = (len(kept), n_items)
    matrix = csr_array(
        (rates.astype(np.float32), items.astype(np.int32), starts.astype(np.int32)), shape=shape
    )
    return SearchClicksModel(codes[order], matrix)


def exposures(
    lists: Impressions, config: SearchClicksConfig, *, now: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per row of the lists what came of it and how probably it was examined, both decayed."""
    worth = np.zeros(4)
    worth[[CLICKED, IN_CART, BOUGHT]] = 1.0, config.cart, config.purchase
    weights = np.ones(len(lists.items))
    if config.half_life_days is not None:
        times = lists.times[lists.of_rows()]
        weights = half_life_decay(times, now=now, half_life_days=config.half_life_days)
    positions = np.minimum(lists.positions, LAST_POSITION)
    bias = position_bias(lists) ** config.severity
    seen = bias[positions] if len(positions) else np.empty(0)
    return worth[lists.outcomes] * weights, seen * weights


def term_codes(terms: Sequence[str]) -> NDArray[np.uint64]:
    """A code per term, as terms are compared: 8 bytes of BLAKE2b, from which it cannot be read."""
    digests = b"".join(
        blake2b(plain_term(term).encode(), digest_size=8, person=b"recsys-term").digest()
        for term in terms
    )
    return np.frombuffer(digests, np.dtype("<u8")).astype(np.uint64)


def _known_terms(lists: Impressions, min_visits: int) -> NDArray[np.int64]:
    """The terms that so many visits searched for, ascending."""
    searched = lists.terms >= 0
    pairs = np.unique(np.stack([lists.terms[searched], lists.visits[searched]]), axis=1)
    visits = np.bincount(pairs[0].astype(np.int64), minlength=len(lists.term_names))
    return np.flatnonzero(visits >= min_visits)


FAMILY: Final = ModelFamily(
    config=SearchClicksConfig,
    fit=fit_search_clicks,
    model=SearchClicksModel,
    level="individual",
    labels={"en": "chosen by who searched for this", "nl": "gekozen door wie hiernaar zocht"},
    needs=frozenset({"term"}),
    reason="same_search",
    paper=(
        "Craswell, Zoeter, Taylor, Ramsey: An experimental comparison of click position-bias "
        "models, WSDM 2008"
    ),
    helps="Ranking search results; needs impressions with their search term and positions.",
)
