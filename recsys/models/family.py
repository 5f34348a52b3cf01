"""`ModelFamily`: all that the product knows of a kind of model, declared once beside its code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from recsys.models.protocol import Model
from recsys.models.search_space import Space

Signal = Literal["history", "session", "seeds", "country", "traits", "term"]
"""A part of a query: the user's history, the visit under way, the items of the page or cart, the
country, the profile's traits, the search term."""

FamilyLevel = Literal["individual", "segment", "everybody"]
"""How personal the recommendations of a family are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFamily:
    """One kind of model: its settings, how it is fitted and loaded, and what to expect of it.

    `fit(data, config, rng=rng)` takes an instance of `config` and returns an instance of `model`.
    Every list of families in the product (labels, levels, search spaces, documentation, the
    contract suite) derives from these declarations.
    """

    config: type[BaseModel]
    fit: Callable[..., Model]
    model: type[Any]
    level: FamilyLevel
    labels: Mapping[str, str]
    """Language → the phrase that names the family as the source of an item; `en` at least."""
    needs: frozenset[Signal] = frozenset()
    """The model has an opinion where a query has any of these; empty: it has one on every query."""
    search_space: Space = field(default_factory=dict)
    """The settings that a search may change; empty: it tries the defaults alone."""
    random: bool = False
    """Whether `fit` draws from `rng`, so that another seed gives other arrays."""
    scores_seeds: bool = True
    """Whether an item of the query's seeds may get a score itself."""
    reason: str = "taste"
    """The code of the reason that is shown where the model names no evidence (see
    `recsys.recommend.explanation.phrases`)."""
    paper: str = ""
    """Where the method comes from: authors, title, venue and year."""
    helps: str = ""
    """When a shop wants this family, in one sentence."""
    path: str = ""
    """How a family from outside this package is named: its dotted path or its entry point."""

    @property
    def stores_user_data(self) -> bool:
        """Whether its models keep rows of customers or visits, as the model class declares."""
        return bool(self.model.stores_user_data)
