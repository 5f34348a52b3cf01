"""What a shop adds in its own code: objects found by entry point or by dotted path.

A package declares an entry point (`[project.entry-points."recsys.metrics"]`,
`profit = "shop.metrics:PROFIT"`), or a configuration names the path `shop.metrics:PROFIT` itself.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Final, Literal

from recsys.errors import InvalidInput

Group = Literal["recsys.models", "recsys.metrics"]
GROUPS: Final[tuple[Group, ...]] = ("recsys.models", "recsys.metrics")


def declared(group: Group) -> tuple[str, ...]:
    """The names that installed packages declare in the group, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=group)}))


def resolve(name: str, group: Group) -> object:
    """The object behind an entry point's name or a path `module.sub:attribute`.

    A path is imported, so it belongs in configurations and code, never in a request. InvalidInput
    names the name and what could not be imported.
    """
    for point in entry_points(group=group, name=name):
        return _imported(point.value, name)
    if ":" in name:
        return _imported(name, name)
    offered = ", ".join(declared(group)) or "none is installed"
    raise InvalidInput(
        group,
        name,
        f"use the name of an entry point of this group ({offered}) or a path `module:attribute`",
    )


def _imported(path: str, name: str) -> object:
    module_name, _, attribute = path.partition(":")
    try:
        plugin: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            plugin = getattr(plugin, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput("plugin", name, f"{path} cannot be imported: {error}") from error
    return plugin
