"""Rules for items without baskets: what is bought with the items that are described like them."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import csr_array

from recsys.models.content import ContentConfig, description_vectors
from recsys.models.neighbours import product_spans
from recsys.models.sparse_scores import stacked
from recsys.top_n import top_n_of
from recsys.training_data import TrainingData


class BorrowingConfig(BaseModel):
    """An item without rules takes those of its `lenders` nearest by description, times `share`.

    `least_similarity` is a cosine; `lenders` 0 borrows nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lenders: int = Field(default=5, ge=0)
    least_similarity: float = Field(default=0.3, ge=0, le=1)
    share: float = Field(default=0.5, gt=0, le=1)


def borrowed_rules(
    own: csr_array, data: TrainingData, config: BorrowingConfig, *, n: int | None
) -> csr_array:
    """Rows for the items for which `own` (strengths, items × items) has none, of at most n entries.

    s_ij = share · Σ_k sim(i, k) · s_kj / lenders over the nearest k that have rules.
    """
    n_items = own.shape[0]
    lends = np.diff(own.indptr) > 0
    borrowers = np.flatnonzero(~lends)
    nothing = csr_array((n_items, n_items), dtype=np.float32)
    if not config.lenders or not lends.any() or not len(borrowers):
        return nothing
    vectors = description_vectors(data.catalog.items, ContentConfig()).vectors
    wanted, postings = csr_array(vectors[borrowers]), csr_array(vectors.T.tocsr())
    rows = [(np.empty(0, np.int32), np.empty(0, np.float32))] * n_items
    for first, last in product_spans(wanted, postings):
        near = csr_array(wanted[first:last] @ postings)
        lenders = []
        for row in range(last - first):
            span = slice(near.indptr[row], near.indptr[row + 1])
            items, cosines = near.indices[span], near.data[span]
            kept = lends[items] & (cosines >= config.least_similarity)
            best = top_n_of(items[kept], cosines[kept], config.lenders)
            lenders.append((best.numbers, best.scores / np.float32(config.lenders)))
        strengths = csr_array(stacked(lenders, n_columns=n_items) @ own)
        strengths.sort_indices()
        for row, item in enumerate(borrowers[first:last].tolist()):
            span = slice(strengths.indptr[row], strengths.indptr[row + 1])
            items, values = strengths.indices[span], strengths.data[span]
            kept = items != item
            best = top_n_of(items[kept], values[kept], n or max(len(items), 1))
            order = np.argsort(best.numbers)
            rows[item] = (best.numbers[order], best.scores[order] * np.float32(config.share))
    return stacked(rows, n_columns=n_items)
