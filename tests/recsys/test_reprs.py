"""What a notebook shows of an object is short: it names the thing and its size."""

from __future__ import annotations

import pytest

from recsys.bundle.bundle import Bundle
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.columns import ItemColumns
from recsys.dataset.splitting import hold_out
from recsys.dataset.training_data import TrainingData

LONGEST = 200


def test_data_and_queries_are_shown_in_a_line(small_data: TrainingData, small_shop) -> None:
    person = small_data.users.id(0)
    facts = small_data.facts(person, now=small_data.as_of)
    history = small_data.history(0, now=small_data.as_of)
    held_out = hold_out(small_shop.log, cut=small_data.as_of, until=small_shop.end, seed=1)
    live = LiveCatalog.of(small_data.catalog)
    shown = [
        small_data, small_data.users, small_data.catalog, history, facts.events, held_out,
        live, live.columns,
    ]  # fmt: skip
    for thing in shown:
        assert type(thing).__name__ in repr(thing)
        assert len(repr(thing)) <= LONGEST, repr(thing)[:500]


def test_every_model_is_shown_in_a_line(bundle: Bundle) -> None:
    long = {
        name: len(repr(model))
        for name, model in bundle.models.items()
        if len(repr(model)) > LONGEST
    }
    assert not long


@pytest.mark.parametrize("kind", [ItemColumns, TrainingData])
def test_the_repr_names_the_class(kind: type, small_data: TrainingData) -> None:
    things = {TrainingData: small_data, ItemColumns: ItemColumns.of(small_data.catalog)}
    assert repr(things[kind]).startswith(f"<{kind.__name__}")
