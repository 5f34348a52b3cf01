"""Every store: live stock and prices change what they name and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from recsys.catalog.items import Item, ItemChange
from recsys.store.protocol import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MUG = Item(item_id="mug", title="Mug", brand="Harbour", price=9.95, stock=3)


def test_a_change_leaves_every_other_field_as_it_is(store: Store) -> None:
    store.put_items([MUG], received_at=NOON)
    change = ItemChange(item_id="mug", stock=0, list_price=12)
    assert store.put_stock([change], known={}, received_at=NOON) == [True]
    assert store.items() == [
        Item(item_id="mug", title="Mug", brand="Harbour", price=9.95, list_price=12, stock=0)
    ]


def test_null_forgets_and_several_changes_of_one_item_all_count(store: Store) -> None:
    store.put_items([MUG], received_at=NOON)
    changes = [ItemChange(item_id="mug", stock=None), ItemChange(item_id="mug", price=8)]
    assert store.put_stock(changes, known={}, received_at=NOON) == [True, True]
    assert store.items() == [Item(item_id="mug", title="Mug", brand="Harbour", price=8)]


def test_an_unknown_item_is_told_and_neither_stored_nor_a_change(store: Store) -> None:
    revision = store.put_items([MUG], received_at=NOON)
    change = ItemChange(item_id="cup", stock=1)
    assert store.put_stock([change], known={}, received_at=NOON) == [False]
    assert store.catalog_changes(since=0).revision == revision
    assert store.items() == [MUG]


def test_an_item_that_is_served_and_not_stored_is_stored_with_the_change(store: Store) -> None:
    change = ItemChange(item_id="mug", stock=1)
    assert store.put_stock([change], known={"mug": MUG}, received_at=NOON) == [True]
    assert [(item.title, item.stock) for item in store.items()] == [("Mug", 1)]


def test_what_is_stored_goes_before_what_is_served(store: Store) -> None:
    store.put_items([MUG], received_at=NOON)
    old = Item(item_id="mug", title="Old mug")
    store.put_stock([ItemChange(item_id="mug", stock=1)], known={"mug": old}, received_at=NOON)
    assert [item.title for item in store.items()] == ["Mug"]


def test_a_change_is_one_of_the_catalogue(store: Store) -> None:
    revision = store.put_items([MUG], received_at=NOON)
    store.put_stock([ItemChange(item_id="mug", price=1)], known={}, received_at=NOON)
    changes = store.catalog_changes(since=revision)
    assert [item.price for item in changes.items] == [1]
    assert changes.revision > revision


def test_changes_of_two_writers_at_once_both_hold(open_store: Callable[[], Store]) -> None:
    first = open_store()
    first.put_items([MUG], received_at=NOON)

    def write(store: Store, changes: list[ItemChange]) -> None:
        for change in changes:
            store.put_stock([change], known={}, received_at=NOON)

    stocks = [ItemChange(item_id="mug", stock=n) for n in range(20)]
    prices = [ItemChange(item_id="mug", price=n) for n in range(20)]
    writing = [
        threading.Thread(target=write, args=(store, changes))
        for store, changes in ((first, stocks), (open_store(), prices))
    ]
    for thread in writing:
        thread.start()
    for thread in writing:
        thread.join()
    assert [(item.stock, item.price) for item in first.items()] == [(19, 19)]
