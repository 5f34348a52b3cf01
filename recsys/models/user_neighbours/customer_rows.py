"""Stored rows of customers, and the search for the nearest of them to a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from recsys.dataset.training_data import TrainingData
from recsys.errors import BundleError
from recsys.events.pseudonyms import Pseudonyms, pseudonyms_of
from recsys.events.schema import PURCHASE
from recsys.ids import Array, Numbers
from recsys.models.protocol import ScoredItems
from recsys.models.scoring import neighbour_kernel
from recsys.models.scoring.personal_rows import kept_rows
from recsys.models.scoring.saved_arrays import array_of, sparse_arrays, sparse_of
from recsys.models.scoring.top_n import top_n_of

MOST_POSTINGS: Final = 200_000
"""How many buyers of its items one query looks through, if its rarest item has fewer."""


@dataclass(frozen=True, slots=True)
class Purchases:
    """Each item of each basket once: parallel arrays, grouped by user, then by basket.

    A basket is what one user bought at one moment; `ranks` is 0 for the newest of a user's baskets,
    1 for the one before; `baskets` how many the user has.
    """

    users: Numbers
    items: Numbers
    times: NDArray[np.float64]
    ranks: NDArray[np.int64]
    baskets: NDArray[np.int64]

    @classmethod
    def of(cls, users: Numbers, items: Numbers, times: NDArray[np.float64]) -> Purchases:
        """The purchases of these lines, which may come in any order and repeat."""
        order = np.lexsort((items, times, users))
        users, items, times = users[order], items[order], times[order]
        new_user = np.ones(len(users), np.bool_)
        new_user[1:] = users[1:] != users[:-1]
        new_basket = new_user.copy()
        new_basket[1:] |= times[1:] != times[:-1]
        new_line = new_basket.copy()
        new_line[1:] |= items[1:] != items[:-1]
        # Baskets are numbered through; the newest of a user is the one before the next user's.
        numbers = np.cumsum(new_basket)[new_line]
        groups = np.cumsum(new_user)[new_line] - 1
        last = (
            np.maximum.reduceat(numbers, np.flatnonzero(new_user[new_line]))
            if len(users)
            else (np.empty(0, np.int64))
        )
        before = np.concatenate([[0], last])
        return cls(
            users[new_line],
            items[new_line],
            times[new_line],
            last[groups] - numbers,
            last[groups] - before[groups],
        )


@dataclass(frozen=True, slots=True)
class CustomerRows:
    """Customers × items: `values` are the scores that a customer adds to near queries.

    similarity(q, v) = q · `similar`[v]. `similar` has the shape of `values`; `owners` holds the
    pseudonym of each row; `by_item` is `similar` transposed.
    """

    values: csr_array
    similar: csr_array
    owners: Pseudonyms
    by_item: csr_array

    @classmethod
    def of(cls, values: csr_array, similar: csr_array, owners: Pseudonyms) -> CustomerRows:
        """The rows with their transposed form."""
        return cls(values, similar, owners, csr_array(similar.T.tocsr()))

    def nearest(
        self, asking: csr_array, k: int, *, most_postings: int = MOST_POSTINGS
    ) -> list[ScoredItems]:
        """Per row of `asking` (queries × items) the k most similar customers: rows, similarities.

        Only similarities above zero; ties go to the lower row. Where the items of a query have more
        than `most_postings` buyers in all, only its rarest items are compared: items that
        everybody buys carry little information and have long posting lists.
        """
        lengths = np.diff(self.by_item.indptr)
        results = []
        for start, end in pairwise(asking.indptr.tolist()):
            items, weights = asking.indices[start:end], asking.data[start:end]
            kept = _rarest(lengths[items], most_postings)
            rows, similarities = neighbour_kernel.weighted_rows(
                self.by_item, items[kept], weights[kept]
            )
            above = similarities > 0
            results.append(top_n_of(rows[above], similarities[above], k))
        return results

    def parts(
        self,
        asking: ScoredItems,
        near: ScoredItems,
        weights: NDArray[np.float32],
        item: int,
    ) -> NDArray[np.float64]:
        """What each item of `asking` adds to Σ_v weight_v · values[v, item].

        A customer's part is divided by what each shared item adds to the similarity.
        """
        given = weights * self.values[near.numbers][:, [item]].toarray().ravel()
        shared = self.by_item[asking.numbers][:, near.numbers].toarray() * asking.scores[:, None]
        return np.asarray(shared @ (given / near.scores), np.float64)

    def drop_users(self, users: Pseudonyms) -> CustomerRows:
        """The rows that belong to none of these users; itself where none does."""
        kept = kept_rows(self.owners, users)
        if kept.all():
            return self
        rows = np.flatnonzero(kept)
        return CustomerRows.of(self.values[rows], self.similar[rows], self.owners[rows])

    def arrays(self) -> Mapping[str, Array]:
        """Both matrices and the owners."""
        return {
            **sparse_arrays("values", self.values),
            **sparse_arrays("similar", self.similar),
            "owners": self.owners,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> CustomerRows:
        """The rows over the same memory; BundleError where an array is missing or misshapen."""
        values, similar = sparse_of(arrays, "values"), sparse_of(arrays, "similar")
        owners = array_of(arrays, "owners", dimensions=1, kind="u")
        if values.shape != similar.shape or len(owners) != values.shape[0]:
            raise BundleError(
                f"Arrays 'values', 'similar' and 'owners' differ in shape ({values.shape}, "
                f"{similar.shape}, {len(owners)}); rebuild the bundle."
            )
        return cls.of(values, similar, owners)


def _rarest(lengths: NDArray[np.integer], most: int) -> NDArray[np.bool_]:
    """The items with the fewest buyers, so many that these are at most `most`; at least one."""
    kept = np.ones(len(lengths), np.bool_)
    if lengths.sum() > most:
        order = np.argsort(lengths, kind="stable")
        beyond = np.cumsum(lengths[order]) > most
        beyond[0] = False
        kept[order[beyond]] = False
    return kept


def newest_customers(data: TrainingData, most: int) -> tuple[Purchases, Pseudonyms]:
    """The purchases of the customers who bought last, renumbered 0, 1, …, and whose they are."""
    timeline = data.timeline
    chosen = timeline.kinds == PURCHASE
    users = timeline.users[chosen]
    times = timeline.times[chosen]
    customers, customer = np.unique(users, return_inverse=True)
    newest = np.full(len(customers), -np.inf)
    np.maximum.at(newest, customer, times)
    kept = np.sort(np.argsort(-newest, kind="stable")[:most])
    renumbered = np.full(len(customers), -1, np.int32)
    renumbered[kept] = np.arange(len(kept), dtype=np.int32)
    rows = renumbered[customer]
    known = rows >= 0
    purchases = Purchases.of(rows[known], timeline.items[chosen][known], times[known])
    return purchases, pseudonyms_of([data.users.id(user) for user in customers[kept].tolist()])


def unit_rows(matrix: csr_array) -> csr_array:
    """Rows of length 1; empty rows stay empty."""
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1), np.float64)).ravel()
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return csr_array(diags_array(inverse.astype(np.float32)) @ matrix)


def weighted_rows(near: Sequence[ScoredItems], power: float, *, n_customers: int) -> csr_array:
    """Queries × customers: similarity^power of the nearest."""
    # int32 as in the stored rows: a product of unlike index types copies the whole of them.
    starts = np.zeros(len(near) + 1, np.int32)
    np.cumsum([len(customers) for customers in near], out=starts[1:])
    columns = np.concatenate([np.empty(0, np.int32), *(customers.numbers for customers in near)])
    values = (
        np.concatenate([np.empty(0, np.float32), *(customers.scores for customers in near)])
        ** power
    )
    return csr_array((values.astype(np.float32), columns, starts), shape=(len(near), n_customers))
