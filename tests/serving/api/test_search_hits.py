"""The body of a search engine's answer: its items, and the same body reordered."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from recsys.errors import InvalidInput
from serving.api.search_hits import items_of, reordered

RESPONSE: dict[str, Any] = {
    "took": 3,
    "_shards": {"total": 1, "successful": 1},
    "hits": {
        "total": {"value": 3, "relation": "eq"},
        "max_score": 3.0,
        "hits": [
            {"_id": "1", "_score": 3.0, "_source": {"sku": "a", "product": {"id": 7}}},
            {"_id": "2", "_score": None, "_source": {"sku": "b", "product.id": "8"}},
            {"_id": "3", "_score": 1.5, "_source": {"sku": "a"}, "fields": {"product.id": ["9"]}},
        ],
    },
    "aggregations": {"brands": {"buckets": []}},
}


def test_items_come_in_the_engines_order_with_its_scores() -> None:
    assert items_of(RESPONSE) == [
        {"item_id": "1", "score": 3.0},
        {"item_id": "2"},
        {"item_id": "3", "score": 1.5},
    ]


def test_an_id_is_found_in_the_source_by_name_or_path_and_in_the_fields() -> None:
    assert [item["item_id"] for item in items_of(RESPONSE, id_field="product.id")] == [
        "7",
        "8",
        "9",
    ]


def test_hits_of_one_item_count_once_and_stay_together() -> None:
    assert items_of(RESPONSE, id_field="sku") == [{"item_id": "a", "score": 3.0}, {"item_id": "b"}]
    ordered = reordered(RESPONSE, ["b", "a"], id_field="sku")
    assert [hit["_id"] for hit in ordered["hits"]["hits"]] == ["2", "1", "3"]


def test_nothing_but_the_order_of_the_hits_is_changed() -> None:
    before = copy.deepcopy(RESPONSE)
    ordered = reordered(RESPONSE, ["3", "1", "2"])
    assert before == RESPONSE
    hits = ordered["hits"].pop("hits")
    assert hits == [RESPONSE["hits"]["hits"][n] for n in (2, 0, 1)]
    rest = copy.deepcopy(RESPONSE)
    del rest["hits"]["hits"]
    assert ordered == rest


def test_hits_that_were_not_ranked_come_last() -> None:
    ordered = reordered(RESPONSE, ["3"])
    assert [hit["_id"] for hit in ordered["hits"]["hits"]] == ["3", "1", "2"]


@pytest.mark.parametrize(
    ("response", "field"),
    [
        ({}, "response.hits.hits"),
        ({"hits": []}, "response.hits.hits"),
        ({"hits": {"hits": {}}}, "response.hits.hits"),
        ({"hits": {"hits": [3]}}, r"response.hits.hits\[0\]"),
        ({"hits": {"hits": [{"_score": 1}]}}, r"response.hits.hits\[0\]._id"),
        ({"hits": {"hits": [{"_id": ["a"]}]}}, r"response.hits.hits\[0\]._id"),
    ],
)
def test_what_is_no_search_answer_is_refused_with_the_place(
    response: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput, match=field):
        items_of(response)
