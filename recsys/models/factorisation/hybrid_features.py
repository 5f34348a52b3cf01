"""Features of items and users of the hybrid model; the same code fits and serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from recsys.catalog.items import Item
from recsys.dataset.event_tables import Timeline
from recsys.dataset.training_data import TrainingData
from recsys.ids import Numbers, Vocabulary
from recsys.models.content.item_words import category_nodes, price_steps, title_words
from recsys.models.scoring.sparse_scores import stacked
from recsys.models.scoring.top_n import top_n_of
from recsys.query.profile import Profile

WORD: Final = "word"
LEAST_WORD_ITEMS: Final = 3
"""A title word in fewer items is left out: it would act as an identity feature."""


def item_features(data: TrainingData) -> tuple[csr_array, csr_array]:
    """Features of items as candidates, and as parts of a history.

    Both are items × features: identity (only of items that somebody has touched, else the row of
    a new item would be noise), category nodes, brand, price steps and title words; a candidate also
    has one column of its popularity, log(1 + users) over the largest.
    """
    n_items = len(data.items)
    users = np.bincount(data.interactions.indices, minlength=n_items)
    touched = np.flatnonzero(users)
    identity = csr_array(
        (np.ones(len(touched), np.float32), (touched, np.arange(len(touched)))),
        shape=(n_items, len(touched)),
    )
    described = csr_array(hstack([identity, _described(data.catalog.items)], format="csr"))
    popularity = np.log1p(users) / max(float(np.log1p(users.max(initial=0))), 1e-30)
    column = csr_array(popularity.astype(np.float32)[:, None])
    return csr_array(hstack([described, column], format="csr")), described


def traits_of(profile: Profile, country: str | None) -> list[str]:
    """The traits by name and value: `country NL`, `group trade`, `newsletter true`.

    Numbers are left out: a value of its own per number teaches nothing.
    """
    names = [f"country {country}"] if country else []
    if profile.customer_group:
        names.append(f"group {profile.customer_group}")
    for name, value in sorted(profile.traits.items()):
        if isinstance(value, bool):
            names.append(f"{name} {str(value).lower()}")
        elif isinstance(value, str):
            names.append(f"{name} {value}")
    return names


def trait_vocabulary(profiles: Sequence[Profile], *, min_people: int) -> Vocabulary:
    """The traits that at least so many people share."""
    counts = Counter(name for profile in profiles for name in traits_of(profile, profile.country))
    return Vocabulary.of(name for name, count in counts.items() if count >= min_people)


def trait_matrix(profiles: Sequence[Profile], names: Vocabulary) -> csr_array:
    """People × traits, 1 where declared."""
    rows = [names.known(traits_of(profile, profile.country)) for profile in profiles]
    return stacked([(row, np.ones(len(row), np.float32)) for row in rows], n_columns=len(names))


def pooled(
    items: Numbers, weights: NDArray[np.float32], *, max_items: int
) -> tuple[Numbers, NDArray[np.float32]]:
    """A history as a mean: its heaviest items, with weights that sum to 1."""
    if len(items) > max_items:
        heaviest = top_n_of(items, weights, max_items)
        items, weights = heaviest.numbers, heaviest.scores
    return items, weights / np.float32(max(float(weights.sum()), 1e-30))


@dataclass(frozen=True, slots=True)
class Moments:
    """Points in people's past: what was known before (features), what came after (positives).

    Rows are people × parts; `histories` holds pooled weights that sum to 1 (nothing in a person's
    first part), `positives` the summed weights of what came in the part. Both are rows × items.
    """

    users: Numbers
    histories: csr_array
    positives: csr_array


def moments(
    data: TrainingData,
    *,
    parts: int,
    max_items: int,
    max_positives: int,
    rng: np.random.Generator,
) -> Moments:
    """Each person's events cut in time into equal parts; what came before a part predicts it.

    A model that saw an item both in the history and as its positive would learn to repeat it.
    Above `max_positives` a random choice of the positives is kept, which bounds time and memory.
    """
    n_users, n_items = data.interactions.shape
    shape = (n_users * parts, n_items)
    timeline = data.timeline
    now = data.as_of.timestamp()
    weights = data.weighting.weights(timeline.kinds, timeline.times, now=now).astype(np.float64)
    part = _parts(timeline, n_users, parts)
    rows = timeline.users.astype(np.int64) * parts
    positives = _sampled(_summed(weights, rows + part, timeline.items, shape), max_positives, rng)
    chosen = np.flatnonzero(np.diff(positives.indptr))
    histories = csr_array((len(chosen), n_items), dtype=np.float64)
    for later in range(1, parts):
        before = part < later
        # 2^(−age/half-life) from another moment is one factor per row, gone in the mean.
        known = _summed(weights[before], rows[before] + later, timeline.items[before], shape)
        histories = histories + known[chosen]
    return Moments(
        (chosen // parts).astype(np.int32),
        _means(csr_array(histories), max_items),
        positives[chosen],
    )


def _parts(timeline: Timeline, n_users: int, parts: int) -> NDArray[np.int64]:
    """Per row of the timeline the part of its person's past, 0 first; an event is in one part."""
    if not len(timeline.events):
        return np.empty(0, np.int64)
    is_new = np.ones(len(timeline.events), np.int64)
    is_new[1:] = (np.diff(timeline.events) != 0) | (np.diff(timeline.users) != 0)
    event = np.cumsum(is_new) - 1
    # A person without events has no row to ask for, so where its start is clipped to is no matter.
    first = event[np.minimum(timeline.starts[:-1], len(event) - 1)]
    counts = np.bincount(timeline.users, weights=is_new, minlength=n_users)
    rank = event - first[timeline.users]
    return np.asarray(rank * parts // counts[timeline.users], np.int64)


def _sampled(matrix: csr_array, n: int, rng: np.random.Generator) -> csr_array:
    """At most n of the entries."""
    if matrix.nnz <= n:
        return matrix
    kept = np.zeros(matrix.nnz, np.bool_)
    kept[rng.choice(matrix.nnz, n, replace=False)] = True
    starts = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    return csr_array((matrix.data[kept], matrix.indices[kept], starts), shape=matrix.shape)


def _means(matrix: csr_array, max_items: int) -> csr_array:
    """Each row pooled: its heaviest items, weights that sum to 1."""
    rows = []
    for row in range(matrix.shape[0]):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        # Scaled before the narrowing to float32, in which old weights would vanish.
        values = matrix.data[span] / matrix.data[span].max(initial=1e-300)
        rows.append(pooled(matrix.indices[span], values.astype(np.float32), max_items=max_items))
    return stacked(rows, n_columns=matrix.shape[1])


def _summed(
    weights: NDArray[np.float64],
    rows: NDArray[np.int64],
    items: Numbers,
    shape: tuple[int, int],
) -> csr_array:
    """Sums per (row, item), those above zero alone."""
    matrix = csr_array((weights, (rows, items)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[matrix.data < 0] = 0.0
    matrix.eliminate_zeros()
    return matrix


def _described(items: Sequence[Item]) -> csr_array:
    """Items × (category nodes, brands, price steps, title words that several items share)."""
    described = [_features_of(item) for item in items]
    counts = Counter(name for features in described for name in features)
    names = Vocabulary.of(
        name
        for name, count in counts.items()
        if count >= LEAST_WORD_ITEMS or not name.startswith(WORD)
    )
    rows = []
    for features in described:
        known = {name: value for name, value in features.items() if name in names}
        rows.append((names.numbers(list(known)), np.array(list(known.values()), np.float32)))
    return stacked(rows, n_columns=len(names))


def _features_of(item: Item) -> Mapping[str, float]:
    features = {f"category {node}": 1.0 for node in category_nodes(item)}
    if item.brand:
        features[f"brand {item.brand}"] = 1.0
    for step, nearness in price_steps(item):
        features[f"price {step}"] = nearness
    terms = dict.fromkeys(title_words(item))  # a set's order differs from process to process
    for term in terms:
        features[f"{WORD} {term}"] = len(terms) ** -0.5
    return features
