"""The registry of model families: the name of each and its declaration.

A shop's own family comes in without an edit of this package, in one of two ways:

- the package that has it names it as an entry point of the group `recsys.models`:
  `my_sales = "my_shop.my_sales:FAMILY"`; it is known wherever that package is installed;
- a recipe gives its dotted path under a name of the shop's choice, beside its settings:
  `models: {my_sales: {family: "my_shop.my_sales:FAMILY", prior: 3}}`; the service's configuration
  repeats it: `families: {my_sales: "my_shop.my_sales:FAMILY"}`. Python must find the module.

`FAMILY` is a `ModelFamily`. What a bundle says of its families is never imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from pydantic import AliasChoices, BaseModel, ValidationError

from recsys.errors import InvalidConfig, InvalidInput
from recsys.models.baskets import bought_together
from recsys.models.content import attribute_affinity, cold_items, content
from recsys.models.factorisation import als, bpr, graph_filter, hybrid, ials
from recsys.models.family import ModelFamily
from recsys.models.item_to_item import ease, item_item, random_walk
from recsys.models.popularity import (
    category_popularity,
    country_popularity,
    popularity,
    search_clicks,
    segment_popularity,
)
from recsys.models.repurchase import rebuy, recently_viewed, refill, repeat
from recsys.models.sessions import session, session_knn
from recsys.models.user_neighbours import tifu_knn, up_cf
from recsys.plugins import declared, resolve

MODELS: Final[Mapping[str, ModelFamily]] = {
    "popularity": popularity.POPULARITY,
    "popularity_by_country": country_popularity.FAMILY,
    "popularity_by_segment": segment_popularity.FAMILY,
    "popularity_by_category": category_popularity.FAMILY,
    "trending": popularity.TRENDING,
    "repeat": repeat.FAMILY,
    "rebuy": rebuy.FAMILY,
    "refill": refill.FAMILY,
    "recent": recently_viewed.FAMILY,
    "session": session.FAMILY,
    "session_knn": session_knn.FAMILY,
    "tifu_knn": tifu_knn.FAMILY,
    "up_cf": up_cf.FAMILY,
    "random_walk": random_walk.FAMILY,
    "item_item": item_item.FAMILY,
    "ease": ease.FAMILY,
    "graph_filter": graph_filter.FAMILY,
    "als": als.FAMILY,
    "ials": ials.FAMILY,
    "bpr": bpr.FAMILY,
    "hybrid": hybrid.FAMILY,
    "bought_together": bought_together.FAMILY,
    "newcomers": cold_items.FAMILY,
    "habits": attribute_affinity.FAMILY,
    "search_clicks": search_clicks.FAMILY,
    "content": content.FAMILY,
}
"""Family name → declaration. Recipes, blends and bundles name models by these keys."""

FAMILY: Final = "family"
"""The key among a model's settings with the dotted path of its family; none of our own has it."""

_declared: dict[str, ModelFamily] = {}
"""The families that configurations of this process have named by path (`declare_families`)."""


def family_of(name: str) -> ModelFamily:
    """The family of that name; InvalidConfig with the nearest known name where there is none."""
    family = known_family(name)
    if family is None:
        known = families()
        raise InvalidConfig(
            f"models.{name}",
            name,
            f"there is no such model family; {_nearest(name, known, 'use one of')}",
        )
    return family


def known_family(name: str) -> ModelFamily | None:
    """The family of that name, or None."""
    return MODELS.get(name) or _declared.get(name) or _installed().get(name)


def families() -> Mapping[str, ModelFamily]:
    """Every family that is known: those of this package, of entry points, and those declared."""
    return {**MODELS, **_installed(), **_declared}


def declare_families(paths: Mapping[str, str]) -> None:
    """Makes families known in this process by name → dotted path (`package.module:FAMILY`).

    To be called with what the shop's own configuration says, never with what a bundle says: the
    modules are imported. InvalidConfig where a path leads to no `ModelFamily`, or a name is that of
    another family already. Reads the entry points as well, so that a broken one is refused now.
    """
    _installed()
    for name, path in paths.items():
        before = known_family(name)
        if before is not None and before.path != path:
            whose = f"that of {before.path}" if before.path else "one of this package"
            raise InvalidConfig(
                f"models.{name}.{FAMILY}", path, f"the name {name!r} is {whose}; give another name"
            )
        if before is None:
            _declared[name] = _loaded(name, path)


def config_of(name: str, settings: Mapping[str, Any]) -> BaseModel:
    """A family's config from the settings that a recipe has for it.

    InvalidConfig names the family, the setting and, where it is misspelt, the nearest known one.
    """
    if FAMILY in settings:
        declare_families({name: str(settings[FAMILY])})
    config = family_of(name).config
    plain = {setting: value for setting, value in settings.items() if setting != FAMILY}
    known = list(_setting_names(config))
    for setting, value in plain.items():
        if setting not in known:
            raise InvalidConfig(
                f"models.{name}.{setting}",
                value,
                f"{name} has no such setting; {_nearest(setting, known, 'it has')}",
            )
    try:
        return config.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidConfig(f"models.{name}.{where}", first["input"], first["msg"]) from error


@cache
def _installed() -> Mapping[str, ModelFamily]:
    """The families of entry points, read when first asked for; none replaces one of our own."""
    return {name: _loaded(name, name) for name in declared("recsys.models") if name not in MODELS}


def _loaded(name: str, path: str) -> ModelFamily:
    try:
        family = resolve(path, "recsys.models")
    except InvalidInput as error:
        raise InvalidConfig(f"models.{name}.{FAMILY}", path, str(error)) from error
    if not isinstance(family, ModelFamily):
        raise InvalidConfig(
            f"models.{name}.{FAMILY}", path, "it is no ModelFamily (`recsys.models.family`)"
        )
    if FAMILY in family.config.model_fields:
        raise InvalidConfig(
            f"models.{name}.{FAMILY}", path, f"its config has a setting {FAMILY!r}; rename that"
        )
    return replace(family, path=path)


def _setting_names(config: type[BaseModel]) -> Iterator[str]:
    """The names under which a config takes its settings: those of its fields and their aliases."""
    for name, field in config.model_fields.items():
        yield name
        aliases = field.validation_alias
        choices = aliases.choices if isinstance(aliases, AliasChoices) else [aliases]
        yield from (alias for alias in choices if isinstance(alias, str))


def _nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else f"{otherwise} {', '.join(known)}"
