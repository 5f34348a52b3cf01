"""What a person dislikes lowers what is like it, where a placement looks at such things."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.query.query import Query
from recsys.recommend.operations import recommend


@pytest.mark.parametrize("returned_like", [0.3, None])
def test_a_dislike_lowers_its_category_and_brand(
    bundle: Bundle, returned_like: float | None
) -> None:
    live_catalog = LiveCatalog.of(bundle.catalog)
    placement = Placement(
        name="p", blend={"popularity": 1.0}, fallback=(), returned_like=returned_like
    )
    query = Query(now=bundle.manifest.as_of)
    (before,) = recommend(bundle, [query], placement, live_catalog, 100)
    catalog = bundle.catalog
    for number in before.numbers.tolist()[:40]:
        alike = (catalog.categories == catalog.categories[number]) & (
            catalog.brands == catalog.brands[number]
        )
        # A model of everybody alone: what moves, moves by the dislike.
        if alike.sum() > 1 and catalog.brands[number] >= 0:
            break
    else:
        pytest.fail("the shop has no two items of one brand and category")
    disliked = np.array([number], np.int32)
    disliking = replace(query, refused=disliked, disliked=disliked)
    (after,) = recommend(bundle, [disliking], placement, live_catalog, 100)
    scores = {item.number: item.score for item in before.items}
    changed = {
        item.number
        for item in after.items
        if item.number in scores and item.score < scores[item.number] - 1e-9
    }
    assert number not in after.numbers
    shown = set(after.numbers.tolist()) & set(scores)
    expected = {n for n in np.flatnonzero(alike).tolist() if n in shown and scores[n] > 0}
    assert changed == (expected if returned_like is not None else set())
