"""The smoke check: a list that is rightly empty is no defect, every other empty one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Placement
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.items import Catalog, Item
from recsys.errors import BundleError
from recsys.events.weighting import Weighting
from recsys.models.popularity.popularity import PopularityModel
from recsys.query.query import Query
from training.pipeline.smoke_check import could_show, smoke_check

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
LONG_AGO = (AS_OF - timedelta(days=400)).timestamp()
ASKED = Query(now=AS_OF)
NOTHING = np.empty(0, np.int32)


def items(n: int = 8, **changes: object) -> list[Item]:
    """A plain catalogue: id, title, category, brand and price; `changes` are of the last item."""
    plain = [
        Item(item_id=f"i{k}", title=f"Item {k}", category=["Home"], brand="Elm", price=5.0)
        for k in range(n)
    ]
    return [*plain[:-1], Item(item_id=f"i{n - 1}", **changes)] if changes else plain


def placement(**fields: object) -> Placement:
    return Placement.model_validate(
        {"name": "list", "blend": {"popularity": 1.0}, "fallback": ("popularity",), **fields}
    )


def bundle_of(*placements: Placement, catalog: Sequence[Item] | None = None) -> Bundle:
    described = Catalog.of(items() if catalog is None else list(catalog))
    return Bundle(
        manifest=Manifest(
            model_version="v1", as_of=AS_OF, window_from=AS_OF, config_digest="c", code_revision="r"
        ),
        items=described.vocabulary,
        catalog=described,
        models={"popularity": PopularityModel.of(np.ones(len(described.items), np.float32))},
        placements={shown.name: shown for shown in placements},
        weighting=Weighting(),
        first_seen=np.full(len(described.items), LONG_AGO),
    )


NEW = placement(name="new", shows="new")
ON_SALE = placement(name="on_sale", shows="on_sale")


def test_a_shop_without_new_items_and_discounts_passes() -> None:
    smoke_check(bundle_of(NEW, ON_SALE, placement()))


def test_a_filter_that_no_item_passes_leaves_a_list_rightly_empty() -> None:
    smoke_check(bundle_of(placement(rules=[{"name": "oak", "filter": {"brand": "Oak"}}])))


def test_the_check_knows_when_items_were_first_seen_as_the_service_does() -> None:
    seen = np.full(8, LONG_AGO)
    seen[6] = AS_OF.timestamp() - 3600
    bundle = replace(bundle_of(NEW), first_seen=seen)
    live_catalog = LiveCatalog.of(bundle.catalog, first_seen=bundle.first_seen)
    assert could_show(NEW, live_catalog, ASKED, without=NOTHING)
    smoke_check(bundle)


@pytest.mark.parametrize(
    ("asked", "changed", "expected"),
    [
        (placement(), {}, True),
        (ON_SALE, {}, False),
        (ON_SALE, {"price": 4.0, "list_price": 8.0}, True),
        (ON_SALE, {"price": 4.0, "list_price": 8.0, "stock": 0}, False),
        (NEW, {}, False),
        (NEW, {"available_from": AS_OF - timedelta(days=2)}, True),
        (NEW, {"available_from": AS_OF - timedelta(days=200)}, False),
        (placement(rules=[{"name": "oak", "filter": {"brand": "Oak"}}]), {}, False),
        (placement(rules=[{"name": "oak", "filter": {"brand": "Oak"}}]), {"brand": "Oak"}, True),
        (placement(fallback=()), {}, False),
    ],
)
def test_a_list_may_be_empty_only_where_no_sellable_item_satisfies_the_placement(
    asked: Placement, changed: dict[str, object], expected: bool
) -> None:
    catalog = Catalog.of(items(**changed))
    live_catalog = LiveCatalog.of(catalog, first_seen=np.full(len(catalog), LONG_AGO))
    assert could_show(asked, live_catalog, ASKED, without=NOTHING) is expected


def test_what_the_customer_of_the_check_has_bought_need_not_be_shown() -> None:
    catalog = Catalog.of(items(price=4.0, list_price=8.0))
    live_catalog = LiveCatalog.of(catalog)
    discounted = catalog.vocabulary.numbers(["i7"])
    assert could_show(ON_SALE, live_catalog, ASKED, without=NOTHING)
    assert not could_show(ON_SALE, live_catalog, ASKED, without=discounted)


def test_a_bundle_with_nothing_to_sell_fails() -> None:
    withdrawn = [Item(item_id="i0", withdrawn=True)]
    with pytest.raises(BundleError, match="nothing to sell"):
        smoke_check(bundle_of(placement(), catalog=withdrawn))
