"""Segments by rules: each part must hold, and training counts whom serving would count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from recsys.bundle.bundle import Bundle
from recsys.bundle.placements import Placement
from recsys.bundle.shop_settings import SegmentsConfig
from recsys.catalog.availability import LiveCatalog
from recsys.dataset.training_data import TrainingData, read_training_data
from recsys.events.log import EventLog, rows
from recsys.events.schema import Event, EventContext, EventItem
from recsys.events.weighting import Weighting
from recsys.ids import Vocabulary
from recsys.models.popularity.segment_popularity import SegmentPopularityModel, members
from recsys.models.registry import MODELS
from recsys.query.history import StoredEvent, event_rows
from recsys.query.profile import UNKNOWN, Profile
from recsys.query.query import Context, Query
from recsys.query.segments import Segment, segments_of
from recsys.recommend.operations import recommend

NOW = datetime(2026, 11, 1, 20, tzinfo=UTC)  # a Sunday
ROOT = Path(__file__).resolve().parents[3]


def watched(days: float, name: str = "video_watched") -> StoredEvent:
    return StoredEvent("", "custom", NOW.timestamp() - days * 86_400, name=name)


def bought(days: float, item: str = "a") -> StoredEvent:
    return StoredEvent(item, "purchase", NOW.timestamp() - days * 86_400)


def holds(
    rule: dict[str, Any],
    *events: StoredEvent,
    profile: Profile = UNKNOWN,
    context: Context | None = None,
    known: bool = True,
) -> bool:
    segment = Segment.model_validate({"name": "s", **rule})
    names = segments_of(
        [segment],
        events=event_rows(events, Vocabulary(["a", "b", "c"])),
        profile=profile,
        context=context or Context(),
        known=known,
        now=NOW,
    )
    return names == ("s",)


FANS = {
    "points": {
        "at_least": 50,
        "days": 90,
        "events": [
            {"event": "custom", "name": "video_watched", "points": 5},
            {"event": "custom", "name": "shared", "points": 15},
        ],
    }
}


def test_ten_watched_videos_of_five_points_make_a_fan_and_nine_do_not() -> None:
    assert holds(FANS, *(watched(day) for day in range(10)))
    assert not holds(FANS, *(watched(day) for day in range(9)))
    assert holds(FANS, *(watched(day) for day in range(7)), watched(0.5, "shared"))
    assert not holds(FANS, *(watched(100 + day) for day in range(10)))
    assert not holds(FANS, *(watched(day, "trailer") for day in range(20)))


def test_a_basket_of_many_items_is_one_purchase() -> None:
    regular = {"events": [{"event": "purchase", "at_least": 2, "days": 30}]}
    assert not holds(regular, bought(1, "a"), bought(1, "b"), bought(1, "c"))
    assert holds(regular, bought(1), bought(2))
    assert not holds(regular, bought(1), bought(40))
    lapsed = {"events": [{"event": "purchase", "at_least": 0, "at_most": 0, "days": 30}]}
    assert holds(lapsed, bought(40))
    assert not holds(lapsed, bought(4))


@pytest.mark.parametrize(
    ("rule", "fits", "misfits"),
    [
        ({"country": ["NL", "BE"]}, {"context": Context(country="BE")}, {}),
        ({"customer_group": ["trade"]}, {"profile": Profile(customer_group="trade")}, {}),
        (
            {"traits": {"diet": ["vegan", "vegetarian"], "member": True}},
            {"profile": Profile(traits={"diet": "vegan", "member": True})},
            {"profile": Profile(traits={"diet": "vegan", "member": False})},
        ),
        ({"device": ["mobile"]}, {"context": Context(device="mobile")}, {}),
        ({"channel": ["app"]}, {"context": Context(channel="app")}, {}),
        ({"hours": [18, 23]}, {}, {"context": Context(hour=9)}),
        ({"hours": [22, 4]}, {"context": Context(hour=2)}, {"context": Context(hour=12)}),
        ({"weekdays": [5, 6]}, {}, {"context": Context(weekday=2)}),
        (
            {"values": {"weather": "rain"}},
            {"context": Context(values={"weather": "rain"})},
            {"context": Context(values={"weather": "sun"})},
        ),
        ({"known": False}, {"known": False}, {"known": True}),
    ],
)
def test_a_segment_holds_where_what_it_names_holds(
    rule: dict[str, Any], fits: dict[str, Any], misfits: dict[str, Any]
) -> None:
    assert holds(rule, **fits)
    assert not holds(rule, **misfits)
    both = {**rule, "events": [{"event": "purchase"}]}
    assert not holds(both, **fits)
    assert holds(both, bought(1), **fits)


def test_a_segment_that_says_nothing_and_a_name_that_stands_twice_are_refused() -> None:
    with pytest.raises(ValidationError, match="says nothing"):
        Segment(name="everybody")
    with pytest.raises(ValidationError, match="stands there twice"):
        SegmentsConfig.model_validate({"segments": [{"name": "a", "device": ["tv"]}] * 2})


def test_the_shipped_segments_are_valid() -> None:
    written = yaml.safe_load((ROOT / "configs" / "segments.yaml").read_text())
    assert len(SegmentsConfig.model_validate(written).segments) >= 3


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Mobile Dutch trade customers buy drills, others on a desktop buy dolls; some watch videos."""
    rng = np.random.default_rng(4)
    events: list[Event] = []
    profiles: dict[str, Profile] = {}
    for person in range(60):
        trade = person % 3 == 0
        user = f"p{person:02}"
        profiles[f"u:{user}"] = Profile(
            user_id=user,
            customer_group="trade" if trade else "home",
            country="NL" if trade else "DE",
            traits={"diet": "vegan" if person % 2 else "any"},
        )
        context = EventContext(
            country="NL" if trade else "DE",
            device="mobile" if trade else "desktop",
            channel="app" if trade else "web",
        )
        for visit in range(1 + person % 4):
            when = NOW - timedelta(days=float(rng.uniform(1, 60)))
            kind = "drill" if trade else "doll"
            items = [EventItem(f"{kind}-{n}") for n in rng.choice(5, 2, replace=False)]
            events.append(
                Event(
                    event_id=f"{user}-{visit}",
                    event="purchase",
                    timestamp=when,
                    user_id=user,
                    items=[*items, EventItem("bag")],
                    context=context,
                )
            )
        events += [
            Event(
                event_id=f"{user}-video-{n}",
                event="custom",
                name="video_watched",
                timestamp=NOW - timedelta(days=n + 1),
                user_id=user,
            )
            for n in range(person % 13)
        ]
    log = EventLog(tmp_path_factory.mktemp("segments"))
    log.append(rows(events), part="all")
    return read_training_data(log, as_of=NOW, weighting=Weighting(), profiles=profiles)


def fitted(data: TrainingData, **config: Any) -> SegmentPopularityModel:
    family = MODELS["popularity_by_segment"]
    model = family.fit(data, family.config.model_validate(config), rng=np.random.default_rng(0))
    assert isinstance(model, SegmentPopularityModel)
    return model


def best(model: SegmentPopularityModel, data: TrainingData, query: Query, n: int = 3) -> list[str]:
    (retrieved,) = model.condition([query]).retrieve(n, np.ones(len(data.items), np.bool_))
    return data.items.ids(retrieved.numbers)


@pytest.mark.parametrize(
    ("by", "query"),
    [
        ("country", Query(now=NOW, context=Context(country="NL"))),
        ("device", Query(now=NOW, context=Context(device="mobile"))),
        ("channel", Query(now=NOW, context=Context(channel="app"))),
        ("customer_group", Query(now=NOW, profile=Profile(customer_group="trade"))),
        ("segment", Query(now=NOW, segments=("builders",))),
    ],
)
def test_each_group_gets_what_its_own_people_choose(
    learnt: TrainingData, by: str, query: Query
) -> None:
    builders = {"name": "builders", "customer_group": ["trade"], "device": ["mobile"]}
    model = fitted(learnt, by=[by], segments=[builders], prior=5)
    assert {name.partition("-")[0] for name in best(model, learnt, query)} <= {"bag", "drill"}
    assert best(model, learnt, Query(now=NOW)) == []
    nowhere = Query(now=NOW, context=Context(country="XX", device="tv"), segments=("nobody",))
    assert best(model, learnt, nowhere) == []
    item = learnt.items.number("drill-0") or 0
    whys = model.condition([query]).explain(0, item)
    assert by in {why.trait for why in whys}


def test_a_small_group_is_drawn_to_everybody(learnt: TrainingData) -> None:
    query = Query(now=NOW, context=Context(device="mobile"))
    believed = fitted(learnt, by=["device"], prior=1e-3)
    doubted = fitted(learnt, by=["device"], prior=1e9)
    doll = learnt.items.numbers(["doll-0"])
    drill = learnt.items.numbers(["drill-0"])
    for model, drills_lead in ((believed, True), (doubted, False)):
        scorer = model.condition([query])
        leads = scorer.score([drill])[0][0] > scorer.score([doll])[0][0]
        assert leads == drills_lead


def test_two_groups_weigh_alike(learnt: TrainingData) -> None:
    model = fitted(learnt, by=["country", "device"], prior=5)
    mixed = Query(now=NOW, context=Context(country="NL", device="desktop"))
    kinds = {name.partition("-")[0] for name in best(model, learnt, mixed, n=9)}
    assert kinds == {"bag", "doll", "drill"}


@pytest.mark.parametrize(
    "rule",
    [
        FANS,
        {"events": [{"event": "purchase", "at_least": 3}]},
        {"events": [{"event": "custom", "name": "video_watched", "days": 5, "at_least": 4}]},
        {"traits": {"diet": "vegan"}, "country": ["DE"]},
        {"known": False},
    ],
)
def test_training_puts_into_a_segment_whom_serving_would_put_there(
    learnt: TrainingData, rule: dict[str, Any]
) -> None:
    segment = Segment.model_validate({"name": "s", **rule})
    counted = members(segment, learnt)
    for user, key in enumerate(learnt.users):
        history = learnt.history(user, now=NOW)
        custom = learnt.context_counts.custom_events
        events = [
            *(bought((NOW.timestamp() - time) / 86_400) for time in history.times.tolist()),
            *(
                watched((NOW.timestamp() - time) / 86_400)
                for time in custom.times[custom.users == user].tolist()
            ),
        ]
        profile = learnt.profiles[user]
        assert counted[user] == holds(rule, *events, profile=profile, known=key.startswith("u:")), (
            key
        )
    assert counted.any() == (rule != {"known": False})


def test_a_group_that_nothing_makes_is_refused() -> None:
    with pytest.raises(ValidationError, match="makes no group"):
        MODELS["popularity_by_segment"].config.model_validate({"by": ["shoe_size"]})


def test_a_rule_for_a_segment_holds_for_its_people_alone(
    bundle: Bundle, small_data: TrainingData
) -> None:
    first, *_ = (
        bundle.models["popularity"]
        .condition([Query(now=NOW)])
        .retrieve(1, np.ones(len(bundle.items), np.bool_))
    )
    best_id = bundle.items.id(int(first.numbers[0]))
    placement = Placement.model_validate(
        {
            "name": "p",
            "blend": {"popularity": 1.0},
            "rules": [{"for": ["fans", "trade"], "exclude": [best_id]}],
        }
    )
    live_catalog = LiveCatalog.of(bundle.catalog)
    stranger, fan = Query(now=NOW), Query(now=NOW, segments=("trade",))

    def first_of(*queries: Query) -> list[str]:
        answers = recommend(bundle, queries, placement, live_catalog, 3)
        return [bundle.items.id(answer.items[0].number) for answer in answers]

    assert first_of(stranger) == [best_id]
    assert first_of(fan) != [best_id]
    assert first_of(stranger, fan)[0] == best_id
