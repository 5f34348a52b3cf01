"""Recommendations from a shop's events: fit, recommend and evaluate from Python.

    import numpy as np, pandas as pd, recsys

    events = pd.read_parquet("data/sample/events.parquet")
    items = pd.read_parquet("data/sample/items.parquet")
    cut = pd.Timestamp("2026-08-18", tz="UTC")
    data = recsys.TrainingData.from_events(events, items=items, as_of=cut)
    model = recsys.fit_ials(data, recsys.IALSConfig(), rng=np.random.default_rng(7))
    shop = recsys.Recommender.of(data, model)
    print(shop.recommend(pd.DataFrame({"user_id": ["c-0001", "c-0002"]}), n=5))
    test = recsys.HeldOut.from_events(events, cut=cut)
    print(shop.evaluate(test, ["ndcg_at_10", "recall_at_10"]))

Events have one row per item: `event` (view_item, add_to_cart, purchase, …), `timestamp` with a
zone, `item_id`, and `user_id` or `anonymous_id`. `help(recsys.TrainingData.from_events)` names the
other columns, of items and profiles too.

Where to start:

    TrainingData.from_events, HeldOut.from_events   frames in
    fit_als, fit_ials, fit_ease, fit_item_item      models; `recsys.MODELS` has them all
    Recommender                                     recommend, evaluate, factors, items
    open(workspace)                                 what `recsys import` and `nightly` have made
    load(directory)                                 a published version alone
    Metric                                          a metric of your own for `evaluate`

`fit_als` and other trainers need `pip install 'recsys[train]'`, the service `'recsys[serve]'`;
whatever is missing says so. Every error is a RecsysError and names what to do.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # each name is loaded when first used: `import recsys` stays quick
    from recsys.dataset.splitting import HeldOut
    from recsys.dataset.training_data import TrainingData
    from recsys.errors import RecsysError
    from recsys.evaluation.shop_metrics import Metric
    from recsys.events.weighting import Weighting
    from recsys.models.factorisation.als import ALSConfig, fit_als
    from recsys.models.factorisation.ials import IALSConfig, fit_ials
    from recsys.models.item_to_item.ease import EASEConfig, fit_ease
    from recsys.models.item_to_item.item_item import ItemItemConfig, fit_item_item
    from recsys.models.registry import MODELS
    from recsys.opened_workspace import OpenedWorkspace
    from recsys.opened_workspace import open_workspace as open  # noqa: A004
    from recsys.recommender import Recommender, load

__all__ = [
    "MODELS",
    "ALSConfig",
    "EASEConfig",
    "HeldOut",
    "IALSConfig",
    "ItemItemConfig",
    "Metric",
    "OpenedWorkspace",
    "Recommender",
    "RecsysError",
    "TrainingData",
    "Weighting",
    "fit_als",
    "fit_ease",
    "fit_ials",
    "fit_item_item",
    "load",
    "open",
]

_MODULE_OF: Final = {
    "MODELS": "recsys.models.registry",
    "ALSConfig": "recsys.models.factorisation.als",
    "EASEConfig": "recsys.models.item_to_item.ease",
    "HeldOut": "recsys.dataset.splitting",
    "IALSConfig": "recsys.models.factorisation.ials",
    "ItemItemConfig": "recsys.models.item_to_item.item_item",
    "Metric": "recsys.evaluation.shop_metrics",
    "OpenedWorkspace": "recsys.opened_workspace",
    "RecsysError": "recsys.errors",
    "Recommender": "recsys.recommender",
    "TrainingData": "recsys.dataset.training_data",
    "Weighting": "recsys.events.weighting",
    "fit_als": "recsys.models.factorisation.als",
    "fit_ease": "recsys.models.item_to_item.ease",
    "fit_ials": "recsys.models.factorisation.ials",
    "fit_item_item": "recsys.models.item_to_item.item_item",
    "load": "recsys.recommender",
    "open": "recsys.opened_workspace",
}
_NAME_THERE: Final = {"open": "open_workspace"}

try:
    __version__ = version("recsys")
except PackageNotFoundError:
    # A source tree that was never installed has no metadata to read a version from.
    __version__ = "0+source"


def __getattr__(name: str) -> Any:
    """A name of `__all__`, imported when it is first used: the client loads no numerics."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'recsys' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), _NAME_THERE.get(name, name))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
