"""Reasons are true of the person who asks and name nobody else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import Manifest
from recsys.bundle.placements import Level, Placement
from recsys.catalog.availability import LiveCatalog
from recsys.catalog.items import Catalog, Item
from recsys.dataset.training_data import TrainingData
from recsys.events.schema import KIND_NUMBER
from recsys.models.baskets.bought_together import BoughtTogetherModel
from recsys.models.protocol import Contribution
from recsys.models.registry import MODELS
from recsys.query.history import History
from recsys.query.preferences import Interests, Preferences
from recsys.query.profile import Profile
from recsys.query.query import Context, Query
from recsys.recommend.explanation.language_files import LANGUAGES, PHRASES
from recsys.recommend.explanation.reasons import (
    LEAST_SHARE,
    MAX_REASONS,
    NEW_FOR,
    Reason,
    ReasonStyle,
    reasons,
    sensitive_paths,
)
from recsys.recommend.operations import Recommendation, recommend

NOW = datetime(2026, 11, 2, tzinfo=UTC)
DAY = 86_400.0
CAMERA, LENS, BAG, TRIPOD, STRAP = range(5)
TITLES = ["Camera", "Lens", "Bag", "Tripod", "Strap"]
PHOTO_SHOP = LiveCatalog.of(
    Catalog.of(
        [
            Item(item_id=str(number), title=title, category=["Photo", title])
            for number, title in enumerate(TITLES)
        ]
    )
)


def history_of(*done: tuple[int, str], days: float = 1.0) -> History:
    """Events at equal distances, the last one at NOW."""
    items = np.array([item for item, _ in done], np.int32)
    kinds = np.array([KIND_NUMBER[kind] for _, kind in done], np.int8)
    times = NOW.timestamp() - np.arange(len(done))[::-1] * days * DAY
    return History(items, kinds, times, np.ones(len(done), np.float32))


def query(*done: tuple[int, str], country: str | None = None, days: float = 1.0) -> Query:
    return Query(now=NOW, history=history_of(*done, days=days), context=Context(country=country))


BLENDS = {
    "for_you": {"random_walk": 1.0, "als": 1.0, "repeat": 0.5, "session": 0.5, "hybrid": 0.5},
    "similar": {"item_item": 1.0, "content": 0.5},
    "bought_together": {"bought_together": 1.0},
    "buy_again": {"refill": 1.0},
}


@pytest.fixture(scope="module")
def bundle(small_data: TrainingData) -> Bundle:
    """The families whose contributions differ in kind."""
    names = {
        "popularity_by_country",
        "popularity",
        *(n for blend in BLENDS.values() for n in blend),
    }
    return Bundle(
        manifest=Manifest(
            model_version="v1",
            as_of=small_data.as_of,
            window_from=small_data.as_of - timedelta(days=50),
            config_digest="c",
            code_revision="r",
        ),
        items=small_data.items,
        catalog=small_data.catalog,
        models={
            name: MODELS[name].fit(small_data, MODELS[name].config(), rng=np.random.default_rng(3))
            for name in sorted(names)
        },
        placements={name: Placement(name=name, blend=blend) for name, blend in BLENDS.items()},
        weighting=small_data.weighting,
    )


@pytest.fixture
def explained(bundle: Bundle):  # type: ignore[no-untyped-def]
    """The reasons for the strap (or the item that is named) given the parts of its score."""

    def explain(
        *why: Contribution,
        source: str = "random_walk",
        asked: Query | None = None,
        item: int = STRAP,
        style: ReasonStyle | None = None,
        live_catalog: LiveCatalog = PHOTO_SHOP,
    ) -> tuple[Reason, ...]:
        level: Level = "individual"
        return reasons(
            Recommendation(item, 1.0, source, level, why),
            query=asked or query(),
            bundle=bundle,
            live_catalog=live_catalog,
            style=style or ReasonStyle(),
        )

    return explain


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [
        ("purchase", "bought", "because you bought Camera"),
        ("add_to_cart", "in_cart", "because you put Camera into your cart"),
        ("add_to_wishlist", "on_wishlist", "because you saved Camera"),
        ("rate", "rated", "because you rated Camera"),
        ("view_item", "viewed", "because you looked at Camera"),
        ("custom", "viewed", "because you looked at Camera"),
    ],
)
def test_a_history_item_is_named_with_what_was_done_with_it(explained, kind, code, text) -> None:
    (reason,) = explained(Contribution("history", 1.0, item=CAMERA), asked=query((CAMERA, kind)))
    assert reason == Reason(code, text, 1.0, item=CAMERA)


def test_the_most_telling_thing_that_was_done_is_named(explained) -> None:
    asked = query((CAMERA, "view_item"), (CAMERA, "purchase"), (CAMERA, "view_item"))
    assert explained(Contribution("history", 1.0, item=CAMERA), asked=asked)[0].code == "bought"


def test_nothing_is_claimed_of_an_item_that_is_not_in_the_history(explained) -> None:
    foreign = Contribution("history", 1.0, item=CAMERA)
    listed = query((CAMERA, "view_item_list"), (LENS, "purchase"))
    for asked in (query(), query((LENS, "purchase")), listed):
        assert [reason.code for reason in explained(foreign, asked=asked)] == ["taste"]
    seed = Contribution("seed", 1.0, item=CAMERA)
    assert [
        reason.item for reason in explained(seed, asked=replace(query(), seeds=np.array([1])))
    ] == [None]


def test_an_item_that_speaks_for_itself_was_bought_before(explained) -> None:
    asked = query((STRAP, "purchase"))
    (reason,) = explained(Contribution("history", 1.0, item=STRAP), asked=asked)
    assert (reason.code, reason.text) == ("bought_before", "you bought it before")


def test_what_was_looked_at_in_this_visit_is_called_so(explained) -> None:
    asked = query((CAMERA, "view_item"))
    asked = replace(asked, session=asked.history)
    (reason,) = explained(Contribution("history", 1.0, item=CAMERA), asked=asked)
    assert (reason.code, reason.text) == ("visit", "because you just looked at Camera")


def test_an_interval_in_days_is_shown_from_three_purchases_on(explained) -> None:
    why = Contribution("history", 1.0, item=STRAP)
    buys = [(STRAP, "purchase")] * 3
    (due,) = explained(why, source="refill", asked=query(*buys, days=30))
    assert (due.code, due.facts) == ("due", {"days": 30})
    assert due.text == "you buy it about every 30 days"
    (twice,) = explained(why, source="refill", asked=query(*buys[:2], days=30))
    assert twice.code == "bought_before"


def test_what_a_company_chose_is_not_said_to_be_the_persons_own(explained) -> None:
    asked = replace(query((LENS, "view_item")), account=history_of((CAMERA, "purchase")))
    why = Contribution("history", 1.0, item=CAMERA)
    (reason,) = explained(why, asked=asked)
    assert (reason.code, reason.text) == ("account", "because your company chose Camera")
    assert explained(why, asked=asked, item=CAMERA)[0].code == "account_before"


def test_the_page_speaks_as_likeness(explained) -> None:
    asked = replace(query(), seeds=np.array([LENS]))
    (reason,) = explained(Contribution("seed", 1.0, item=LENS), source="content", asked=asked)
    assert (reason.code, reason.text, reason.item) == ("similar_to", "similar to Lens", LENS)


def test_after_a_purchase_the_things_that_were_bought_speak_as_a_page_does(explained) -> None:
    asked = query((LENS, "purchase"))
    (reason,) = explained(Contribution("seed", 1.0, item=LENS), source="item_item", asked=asked)
    assert (reason.code, reason.item) == ("similar_to", LENS)


def test_a_pair_is_often_bought_together_only_where_enough_customers_did(bundle: Bundle) -> None:
    model = bundle.models["bought_together"]
    assert isinstance(model, BoughtTogetherModel)
    pair = int(np.argmax(model.customers))
    seed = int(np.searchsorted(model.strength.indptr, pair, side="right")) - 1
    item, customers = int(model.strength.indices[pair]), int(model.customers[pair])
    asked = replace(query(), seeds=np.array([seed]))
    shown = Recommendation(
        item, 1.0, "bought_together", "page", (Contribution("seed", 1.0, item=seed),)
    )
    for least, code, facts in (
        (customers, "bought_with", {"customers": customers}),
        (customers + 1, "goes_with", {}),
    ):
        (reason, *_) = reasons(
            shown,
            query=asked,
            bundle=bundle,
            live_catalog=LiveCatalog.of(bundle.catalog),
            style=ReasonStyle(min_customers=least),
        )
        assert reason.code == code
        assert {k: v for k, v in reason.facts.items() if k == "customers"} == facts
        if facts:
            assert float(reason.facts["lift"]) > 1


def test_a_country_is_named_and_another_trait_too(explained) -> None:
    country = Contribution("trait", 1.0, trait="country")
    (reason,) = explained(country, asked=query(country="NL"))
    assert (reason.text, reason.facts) == ("popular in NL", {"country": "NL"})
    declared = Query(now=NOW, profile=Profile(country="GB"))
    assert explained(country, asked=declared)[0].text == "popular in GB"
    group = Contribution("trait", 1.0, trait="customer_group=trade")
    assert explained(group)[0].text == "liked by customers with the same customer group"
    assert "trade" not in str(explained(group))


def test_a_new_item_is_called_new_for_a_month(explained) -> None:
    opened = Item(item_id="4", title="Strap", available_from=NOW - timedelta(days=3))
    live_catalog = PHOTO_SHOP.with_changes([opened], revision=1)
    asked = query((CAMERA, "purchase"))
    why = Contribution("history", 1.0, item=CAMERA)
    assert [reason.code for reason in explained(why, asked=asked, live_catalog=live_catalog)] == [
        "bought",
        "new",
    ]
    later = replace(asked, now=NOW - timedelta(days=3) + NEW_FOR)
    assert [reason.code for reason in explained(why, asked=later, live_catalog=live_catalog)] == [
        "bought"
    ]


def test_an_item_below_its_list_price_is_called_on_sale(explained) -> None:
    reduced = Item(item_id="4", title="Strap", price=8.0, list_price=10.0)
    live_catalog = PHOTO_SHOP.with_changes([reduced], revision=1)
    asked = query((CAMERA, "purchase"))
    why = Contribution("history", 1.0, item=CAMERA)
    assert [reason.code for reason in explained(why, asked=asked, live_catalog=live_catalog)] == [
        "bought",
        "on_sale",
    ]
    assert [reason.code for reason in explained(why, asked=asked)] == ["bought"]


def test_what_the_shop_makes_weigh_more_is_said_to_be_its_choice(bundle: Bundle) -> None:
    asked = query((CAMERA, "purchase"))
    recommended = Recommendation(
        STRAP, 1.0, "als", "individual", (Contribution("history", 1.0, item=CAMERA),)
    )
    codes = [
        [
            reason.code
            for reason in reasons(
                recommended,
                query=asked,
                bundle=bundle,
                live_catalog=PHOTO_SHOP,
                style=ReasonStyle(),
                promoted=promoted,
            )
        ]
        for promoted in (True, False)
    ]
    assert codes == [["bought", "chosen_by_shop"], ["bought"]]


def test_the_weightiest_come_first_and_trifles_and_repeats_are_left_out(explained) -> None:
    asked = query(*((item, "purchase") for item in range(5)))
    why = [Contribution("history", share, item=n) for n, share in enumerate((0.4, 0.3, 0.2, 0.06))]
    given = explained(*why, Contribution("history", LEAST_SHARE / 2, item=STRAP), asked=asked)
    assert [reason.item for reason in given] == [0, 1, 2]
    assert len(given) == MAX_REASONS
    twice = Contribution("history", 0.5, item=CAMERA)
    assert len(explained(twice, twice, asked=asked)) == 1


def test_without_contributions_the_source_itself_is_the_reason(explained) -> None:
    assert explained(source="popularity") == (Reason("popular", "popular with everybody", 1.0),)


def test_the_subtle_tone_names_no_evidence(explained) -> None:
    asked = query((CAMERA, "purchase"))
    (reason,) = explained(
        Contribution("history", 1.0, item=CAMERA), asked=asked, style=ReasonStyle(tone="subtle")
    )
    assert (reason.code, reason.text) == ("bought", "matches your taste")


def test_reasons_are_phrased_in_the_language_that_is_asked_for(explained) -> None:
    asked = query((CAMERA, "purchase"))
    why = Contribution("history", 1.0, item=CAMERA)
    (reason,) = explained(why, asked=asked, style=ReasonStyle(language="nl"))
    assert reason.text == "omdat je Camera hebt gekocht"


@pytest.mark.parametrize("path", ["Photo", "photo > CAMERA", "Photo > Camera"])
def test_nothing_in_a_sensitive_category_is_named(explained, path: str) -> None:
    style = ReasonStyle(sensitive=sensitive_paths([path]))
    asked = query((CAMERA, "purchase"))
    why = Contribution("history", 1.0, item=CAMERA)
    shown = Item(item_id="4", title="Strap", category=["Straps"])
    live_catalog = PHOTO_SHOP.with_changes([shown], revision=1)
    (reason,) = explained(why, asked=asked, style=style, live_catalog=live_catalog)
    assert (reason.text, reason.item, reason.facts) == ("matches your taste", None, {})
    (itself,) = explained(why, asked=asked, item=CAMERA, style=style, live_catalog=live_catalog)
    assert (itself.code, itself.item) == ("taste", None)
    other = ReasonStyle(sensitive=sensitive_paths(["Photo > Lens"]))
    assert explained(why, asked=asked, style=other)[0].item == CAMERA


@pytest.mark.parametrize("seed", range(4))
def test_the_reasons_of_real_answers_rest_on_the_persons_own_history(
    bundle: Bundle, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(bundle.items), size=6, replace=False)
    kinds = rng.choice(["view_item", "purchase", "add_to_cart"], size=6)
    asked = replace(
        query(*zip(chosen.tolist(), kinds.tolist(), strict=True)),
        now=bundle.manifest.as_of,
        seeds=rng.choice(len(bundle.items), size=2, replace=False).astype(np.int32),
        known=True,
    )
    live_catalog = LiveCatalog.of(bundle.catalog)
    checked = 0
    for placement in bundle.placements.values():
        (answer,) = recommend(bundle, [asked], placement, live_catalog, 8, explain=True)
        for item in answer.items:
            for language in LANGUAGES:
                style = ReasonStyle(language=language)
                for reason in reasons(
                    item, query=asked, bundle=bundle, live_catalog=live_catalog, style=style
                ):
                    checked += 1
                    assert reason.code in PHRASES[language].reasons
                    assert "{" not in reason.text
                    if reason.item is None:
                        continue
                    if reason.code in ("similar_to", "goes_with", "bought_with"):
                        assert reason.item in asked.seeds
                    else:
                        assert reason.item in asked.history.items
                        assert live_catalog.items[reason.item].title in reason.text or (
                            reason.item == item.number
                        )
    assert checked > 20


def test_what_a_person_declared_to_like_is_said(bundle: Bundle) -> None:
    item = Item(item_id="x", title="Lens", brand="Quay", category=["Photo", "Lenses"])
    live_catalog = LiveCatalog.of(Catalog.of([item]))
    wishes = Preferences(interests=Interests(brands=["Quay"], categories=[["Photo"]]))
    asked = Query(now=NOW, preferences=wishes)
    recommended = Recommendation(0, 1.0, "popularity", "everybody")

    def texts(style: ReasonStyle, query: Query = asked) -> list[tuple[str, str]]:
        given = reasons(
            recommended, query=query, bundle=bundle, live_catalog=live_catalog, style=style
        )
        return [(reason.code, reason.text) for reason in given][1:]

    assert texts(ReasonStyle()) == [
        ("preferred_brand", "you follow Quay"),
        ("preferred_category", "you are interested in Photo"),
    ]
    assert texts(ReasonStyle(tone="subtle")) == [("preferred_brand", "among your preferences")]
    assert texts(ReasonStyle(), Query(now=NOW)) == []
    assert texts(ReasonStyle(sensitive=sensitive_paths(["Photo"]))) == []


def test_a_like_is_a_reason_and_an_interest_is_shared_without_its_name(bundle: Bundle) -> None:
    liked = texts_of(bundle, query((LENS, "feedback")), Contribution("history", 1.0, item=LENS))
    assert liked == [f"because you like {TITLES[LENS]}"]
    shared = texts_of(bundle, query(), Contribution("trait", 1.0, trait="interest in Quay true"))
    assert shared == ["liked by customers with the same interests"]


def texts_of(bundle: Bundle, asked: Query, why: Contribution) -> list[str]:
    recommended = Recommendation(0, 1.0, "als", "individual", (why,))
    given = reasons(
        recommended, query=asked, bundle=bundle, live_catalog=PHOTO_SHOP, style=ReasonStyle()
    )
    return [reason.text for reason in given]
