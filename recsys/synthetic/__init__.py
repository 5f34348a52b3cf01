"""A shop with known truth, for demo, tests, load and closed-loop experiments; always synthetic.

    shop = make_shop(ShopConfig(), rng=np.random.default_rng(7))
    for events in simulate(shop, days=shop.config.days, rng=rng): ...
    events = react(shop, Impression("c-0042", shown, when=now), rng=rng)

Nothing in it comes from a real shop or person: items carry the attribute `synthetic: true`,
profiles the trait `synthetic: true`.
"""

from __future__ import annotations

from recsys.synthetic.history import simulate
from recsys.synthetic.reactions import Impression, attraction, examination, react
from recsys.synthetic.shop import ShopConfig, SyntheticShop, make_shop

__all__ = [
    "Impression",
    "ShopConfig",
    "SyntheticShop",
    "attraction",
    "examination",
    "make_shop",
    "react",
    "simulate",
]
