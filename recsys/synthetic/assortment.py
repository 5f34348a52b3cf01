"""What the invented shop sells: departments, categories, brands and titles, all made up.

Every word list is invented for this purpose; no title or brand is that of a real product.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from recsys.catalog.items import Item

STYLE_SIZE: Final = 8
"""Length of the style vectors that items and people share."""

BRANDS_PER_DEPARTMENT: Final = 4
PRICE_TIERS: Final = (0.65, 0.9, 1.1, 1.6)
"""Price factor of the first to the fourth brand of a department, cheap to dear."""

COLOURS: Final = ("Blue", "Red", "Green", "White", "Black", "Sand", "Coral", "Slate")


@dataclass(frozen=True, slots=True)
class Category:
    """One category: how its titles are made, what it costs, and how it is used up.

    `price` is the median in the shop's currency; `refill_days` how long one piece lasts, None for
    what lasts; `peak` the day of the year when it sells best, None without a season; `once` for
    what a household has one of.
    """

    department: str
    name: str
    nouns: tuple[str, ...]
    variants: tuple[str, ...]
    sizes: tuple[str, ...]
    price: float
    refill_days: float | None = None
    peak: int | None = None
    once: bool = False
    pieces: float = 1.0
    """Mean number of pieces in one purchase."""


_ROASTS = ("Sierra", "Harbour", "Midnight", "Sunrise", "Highland", "Lagoon", "Ember", "Meadow")
_NATURE = ("Fox", "Owl", "Whale", "Hedgehog", "Rocket", "Castle", "Jungle", "Harbour")
_PAPERS = ("Dotted", "Ruled", "Squared", "Plain")

CATEGORIES: Final = (
    Category("Kitchen", "Mugs", ("Enamel Mug", "Stoneware Mug", "Travel Mug"), COLOURS,
             ("250 ml", "350 ml", "450 ml"), 9.0, pieces=2.0),
    Category("Kitchen", "Pans", ("Frying Pan", "Sauté Pan", "Crêpe Pan"), COLOURS[:5],
             ("20 cm", "24 cm", "28 cm"), 34.0),
    Category("Kitchen", "Knives", ("Chef's Knife", "Bread Knife", "Paring Knife"),
             ("Walnut", "Steel", "Olive Wood", "Black"), ("9 cm", "18 cm", "21 cm"), 29.0),
    Category("Kitchen", "Coffee Machines", ("Filter Coffee Machine", "Espresso Machine"),
             COLOURS[:5], ("6 Cups", "10 Cups", "12 Cups"), 119.0, once=True),
    Category("Kitchen", "Storage Jars", ("Storage Jar", "Swing-top Jar", "Tea Caddy"), COLOURS,
             ("0.5 l", "1 l", "2 l"), 8.0, pieces=2.0),
    Category("Coffee & Tea", "Coffee Beans", ("Espresso Beans", "Filter Coffee Beans"), _ROASTS,
             ("250 g", "500 g", "1 kg"), 11.0, refill_days=21.0),
    Category("Coffee & Tea", "Tea", ("Black Tea", "Green Tea", "Herbal Tea"), _ROASTS,
             ("20 Bags", "50 Bags", "100 g"), 6.0, refill_days=28.0, peak=350),
    Category("Coffee & Tea", "Coffee Filters", ("Paper Filters", "Cone Filters"),
             ("Bleached", "Natural", "Bamboo"), ("Size 2", "Size 4", "Size 6"), 3.5,
             refill_days=35.0),
    Category("Coffee & Tea", "Descaler", ("Liquid Descaler", "Descaling Tablets"),
             ("Citric", "Lactic", "Fresh"), ("250 ml", "500 ml", "12 Pieces"), 7.0,
             refill_days=60.0),
    Category("Coffee & Tea", "Syrups", ("Vanilla Syrup", "Caramel Syrup", "Hazelnut Syrup"),
             ("Classic", "Sugar-free", "Organic"), ("250 ml", "700 ml"), 7.5, refill_days=40.0),
    Category("Garden", "Seeds", ("Flower Seeds", "Herb Seeds", "Vegetable Seeds"),
             ("Meadow", "Balcony", "Kitchen", "Wild", "Rainbow"), ("1 Bag", "5 Bags"), 3.0,
             peak=100, pieces=2.5),
    Category("Garden", "Plant Pots", ("Terracotta Pot", "Glazed Pot", "Hanging Pot"), COLOURS,
             ("12 cm", "18 cm", "26 cm"), 12.0, peak=120, pieces=1.6),
    Category("Garden", "Garden Tools", ("Hand Trowel", "Pruning Shears", "Garden Fork"),
             ("Ash", "Steel", "Green", "Red"), ("Small", "Medium", "Large"), 18.0, peak=110),
    Category("Garden", "Bird Houses", ("Nesting Box", "Bird Feeder"),
             ("Oak", "Green", "Slate", "Red"), ("Small", "Large"), 21.0, peak=330),
    Category("Garden", "Bird Food", ("Fat Balls", "Sunflower Hearts", "Winter Mix"),
             ("Classic", "Premium", "Insect"), ("500 g", "1 kg", "4 kg"), 8.0, refill_days=24.0,
             peak=350),
    Category("Garden", "Outdoor Lights", ("Solar Lantern", "String Lights"), COLOURS[3:],
             ("5 m", "10 m", "Set of 2"), 19.0, peak=180),
    Category("Toys", "Wooden Toys", ("Stacking Tower", "Train Set", "Building Blocks"), _NATURE,
             ("12 Pieces", "24 Pieces", "48 Pieces"), 24.0, peak=345),
    Category("Toys", "Puzzles", ("Jigsaw Puzzle", "Floor Puzzle"), _NATURE,
             ("100 Pieces", "500 Pieces", "1000 Pieces"), 14.0, peak=355),
    Category("Toys", "Soft Toys", ("Soft Toy", "Hand Puppet"), _NATURE, ("25 cm", "40 cm"), 17.0,
             peak=345),
    Category("Toys", "Craft Sets", ("Bead Set", "Paper Craft Set", "Modelling Clay"), COLOURS,
             ("Small", "Large"), 11.0, peak=330),
    Category("Toys", "Board Games", ("Family Game", "Memory Game", "Strategy Game"), _NATURE,
             ("2 Players", "4 Players", "6 Players"), 22.0, peak=355),
    Category("Office", "Notebooks", ("Hardcover Notebook", "Spiral Notebook"),
             tuple(f"{colour} {paper}" for colour in COLOURS[:5] for paper in _PAPERS),
             ("A6", "A5", "A4"), 7.0, pieces=1.8),
    Category("Office", "Pens", ("Gel Pen", "Fountain Pen", "Fineliner"), COLOURS,
             ("Fine", "Medium", "Set of 6"), 5.0, pieces=2.0),
    Category("Office", "Desk Lamps", ("Desk Lamp", "Clamp Lamp"), COLOURS, ("30 cm", "45 cm"),
             39.0),
    Category("Office", "Printer Paper", ("Printer Paper", "Recycled Paper"),
             ("White", "Cream", "Natural"), ("500 Sheets", "2500 Sheets"), 13.0,
             refill_days=30.0),
    Category("Office", "Ink Cartridges", ("Ink Cartridge", "Refill Ink"),
             ("Black", "Cyan", "Magenta", "Yellow"), ("Standard", "XL"), 18.0, refill_days=45.0),
    Category("Living", "Cushions", ("Linen Cushion", "Velvet Cushion"), COLOURS,
             ("40 × 40 cm", "50 × 50 cm"), 16.0, pieces=1.6),
    Category("Living", "Blankets", ("Wool Blanket", "Fleece Blanket"), COLOURS,
             ("130 × 170 cm", "150 × 200 cm"), 42.0, peak=340),
    Category("Living", "Bed Linen", ("Cotton Bed Linen", "Linen Bed Set"), COLOURS,
             ("135 × 200 cm", "155 × 220 cm"), 58.0),
    Category("Living", "Towels", ("Bath Towel", "Hand Towel"), COLOURS,
             ("50 × 100 cm", "70 × 140 cm"), 13.0, pieces=2.0),
    Category("Living", "Candles", ("Scented Candle", "Pillar Candle"),
             ("Cedar", "Fig", "Linen", "Orange", "Rose", "Moss"), ("Small", "Medium", "Large"),
             9.0, refill_days=30.0, peak=345),
)  # fmt: skip

COMPLEMENTS: Final[Mapping[str, Mapping[str, float]]] = {
    "Coffee Machines": {"Coffee Beans": 0.5, "Coffee Filters": 0.4, "Descaler": 0.35},
    "Coffee Beans": {"Coffee Filters": 0.18, "Syrups": 0.12},
    "Mugs": {"Tea": 0.2},
    "Storage Jars": {"Tea": 0.15, "Coffee Beans": 0.12},
    "Plant Pots": {"Seeds": 0.35, "Garden Tools": 0.12},
    "Garden Tools": {"Seeds": 0.2},
    "Bird Houses": {"Bird Food": 0.5},
    "Wooden Toys": {"Soft Toys": 0.12},
    "Craft Sets": {"Pens": 0.18},
    "Board Games": {"Puzzles": 0.12},
    "Notebooks": {"Pens": 0.4},
    "Ink Cartridges": {"Printer Paper": 0.4},
    "Desk Lamps": {"Notebooks": 0.15},
    "Bed Linen": {"Cushions": 0.25, "Towels": 0.2},
    "Blankets": {"Candles": 0.25, "Cushions": 0.15},
}
"""Category bought → category added to the same basket → how likely."""

_BRAND_HEADS = ("Nor", "Vel", "Tam", "Bru", "Ost", "Lin", "Kar", "Mir", "Hal", "Fen", "Sol", "Dun")
_BRAND_TAILS = ("wick", "dale", "mark", "ora", "holm", "ette", "berg", "ina")


@dataclass(frozen=True, slots=True)
class Assortment:
    """The items and the truth about them; arrays have one entry per item, in the items' order."""

    items: tuple[Item, ...]
    categories: NDArray[np.int32]
    """Index into CATEGORIES."""
    brands: NDArray[np.int32]
    """Index into `brand_names`; brands of department d are 4d … 4d + 3."""
    brand_names: tuple[str, ...]
    relative_prices: NDArray[np.float64]
    """log(price / the median price of its category)."""
    styles: NDArray[np.float64]
    """items × STYLE_SIZE, unit length."""
    popularity: NDArray[np.float64]
    """What makes an item liked by everybody, in logits."""
    opens: NDArray[np.float64]
    """Midnight UTC of the first day of sale, epoch seconds; −inf for what was always there."""
    trend_starts: NDArray[np.float64]
    """Epoch seconds at which a two-week fashion begins; +inf for items without one."""
    complements: tuple[Mapping[int, float], ...]
    """Item → items added to its basket, with their probabilities."""


def make_assortment(
    *, count: int, opening: datetime, days: int, new_share: float, rng: Generator
) -> Assortment:
    """`count` items spread over all categories; `new_share` of them open during the `days`."""
    categories = rng.permutation(np.arange(count) % len(CATEGORIES)).astype(np.int32)
    departments = tuple(dict.fromkeys(category.department for category in CATEGORIES))
    department_of = np.array([departments.index(c.department) for c in CATEGORIES])
    tiers = rng.integers(0, BRANDS_PER_DEPARTMENT, count)
    brands = (department_of[categories] * BRANDS_PER_DEPARTMENT + tiers).astype(np.int32)
    brand_names = _brand_names(len(departments) * BRANDS_PER_DEPARTMENT, rng)
    titles, variants = _titles(categories, rng)
    medians = np.array([category.price for category in CATEGORIES])[categories]
    raw_prices = medians * np.array(PRICE_TIERS)[tiers] * np.exp(rng.normal(0.0, 0.22, count))
    prices = np.maximum(np.round(raw_prices * 2.0) / 2.0 - 0.05, 0.45)
    styles = _styles(variants, brands, rng)
    seconds = days * 86_400.0
    start = opening.timestamp()
    is_new = rng.random(count) < new_share
    opens = np.where(is_new, start + rng.uniform(0.15, 0.95, count) * seconds, -np.inf)
    opens = np.where(is_new, np.floor(opens / 86_400.0) * 86_400.0, opens)
    in_fashion = rng.random(count) < 0.05
    trends = np.where(in_fashion, start + rng.uniform(0.0, 1.0, count) * seconds, np.inf)
    items = tuple(
        Item(
            item_id=f"sku-{number:05d}",
            title=titles[number],
            category=[CATEGORIES[category].department, CATEGORIES[category].name],
            brand=brand_names[brands[number]],
            price=round(float(prices[number]), 2),
            list_price=round(float(prices[number]) * 1.25, 2) if number % 10 == 3 else None,
            available_from=(
                datetime.fromtimestamp(float(opens[number]), opening.tzinfo)
                if is_new[number]
                else None
            ),
            attributes={"synthetic": True, "variant": variants[number]},
        )
        for number, category in enumerate(categories.tolist())
    )
    return Assortment(
        items=items,
        categories=categories,
        brands=brands,
        brand_names=brand_names,
        relative_prices=np.log(prices / medians),
        styles=styles,
        popularity=rng.normal(0.0, 0.6, count),
        opens=opens,
        trend_starts=trends,
        complements=_complements(categories, brands, styles, rng),
    )


def season(when: date) -> NDArray[np.float64]:
    """How much the day of the year adds to each category's logit: 0.8 · cos of the distance."""
    day = when.timetuple().tm_yday
    return np.array(
        [
            0.0 if c.peak is None else 0.8 * np.cos(2.0 * np.pi * (day - c.peak) / 365.0)
            for c in CATEGORIES
        ]
    )


def _brand_names(count: int, rng: Generator) -> tuple[str, ...]:
    names = [head + tail for head, tail in itertools.product(_BRAND_HEADS, _BRAND_TAILS)]
    return tuple(names[n] for n in rng.permutation(len(names))[:count])


def _titles(categories: NDArray[np.int32], rng: Generator) -> tuple[list[str], list[str]]:
    titles = [""] * len(categories)
    variants = [""] * len(categories)
    for index, category in enumerate(CATEGORIES):
        choices = list(itertools.product(category.nouns, category.variants, category.sizes))
        order = rng.permutation(len(choices))
        for position, number in enumerate(np.flatnonzero(categories == index).tolist()):
            series, choice = divmod(position, len(choices))
            noun, variant, size = choices[order[choice]]
            edition = f" No. {series + 1}" if series else ""
            titles[number] = f"{noun} {variant} {size}{edition}"
            variants[number] = variant
    return titles, variants


def _styles(variants: list[str], brands: NDArray[np.int32], rng: Generator) -> NDArray[np.float64]:
    """Unit vectors made of the variant's, the brand's and the item's own style.

    So what a title and a brand say about an item says something about who likes it.
    """
    names = sorted(set(variants))
    variant_styles = unit(rng.normal(size=(len(names), STYLE_SIZE)))
    brand_styles = unit(rng.normal(size=(int(brands.max()) + 1, STYLE_SIZE)))
    of_items = unit(rng.normal(size=(len(variants), STYLE_SIZE)))
    number_of = {name: n for n, name in enumerate(names)}
    by_variant = variant_styles[[number_of[variant] for variant in variants]]
    return unit(0.7 * by_variant + 0.4 * brand_styles[brands] + 0.5 * of_items)


def _complements(
    categories: NDArray[np.int32],
    brands: NDArray[np.int32],
    styles: NDArray[np.float64],
    rng: Generator,
) -> tuple[Mapping[int, float], ...]:
    """Per item its two best matches (style, brand, chance) in each complementary category."""
    index = {category.name: n for n, category in enumerate(CATEGORIES)}
    members = {name: np.flatnonzero(categories == n) for name, n in index.items()}
    pairs: list[Mapping[int, float]] = []
    for number, category in enumerate(categories.tolist()):
        chosen: dict[int, float] = {}
        for name, chance in COMPLEMENTS.get(CATEGORIES[category].name, {}).items():
            theirs = members[name]
            fit = styles[theirs] @ styles[number] + 0.5 * (brands[theirs] == brands[number])
            best = theirs[np.argsort(-(fit + rng.normal(0.0, 0.3, len(theirs))))[:2]]
            # The first match takes two thirds of the category's chance, the second one third.
            for share, match in zip((2 / 3, 1 / 3), best.tolist(), strict=False):
                chosen[match] = chance * share
        pairs.append(chosen)
    return tuple(pairs)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rows scaled to length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
