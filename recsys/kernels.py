"""Compiled array functions on the path from scores to a list: top n, union, look-up, sums.

On the small arrays of one query a NumPy call costs more than its arithmetic; each function here
replaces five to fifteen such calls. The slow reference implementations are in the tests.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from recsys.ids import Numbers

NO_MASK: NDArray[np.bool_] = np.empty(0, np.bool_)
NO_MASK.setflags(write=False)
NO_SCORES: NDArray[np.float32] = np.empty(0, np.float32)
NO_SCORES.setflags(write=False)


def read_only(scalar: types.Type) -> types.Array:
    """The numba type of a one-dimensional array that the function does not write to."""
    return types.Array(scalar, 1, "C", readonly=True)


# Explicit signatures compile at import, not during a request. `readonly` accepts both kinds of
# array: numba treats a mapped file, which is read-only, as a type of its own.
_NUMBERS = read_only(types.int32)
_FLOATS = read_only(types.float32)
_MASK = read_only(types.bool_)
PAIRS: Final = types.Tuple((types.int32[::1], types.float32[::1]))  # type: ignore[no-untyped-call]
"""The numba type of returned numbers and their scores."""
_SUMS: Final = types.Tuple((*PAIRS, types.float32[::1]))  # type: ignore[no-untyped-call]


def best_of_pairs(
    numbers: Numbers,
    scores: NDArray[np.float32],
    allow: NDArray[np.bool_],
    n: int,
) -> tuple[Numbers, NDArray[np.float32]]:
    """The n best of parallel arrays, best first, ties to the lower number.

    `allow` is a mask over numbers, or NO_MASK. Scores that are not finite are left out.
    """
    result: tuple[Numbers, NDArray[np.float32]] = _best_of_pairs(numbers, scores, allow, n)
    return result


def best_of_all(
    scores: NDArray[np.float32], allow: NDArray[np.bool_], also: NDArray[np.bool_], n: int
) -> tuple[Numbers, NDArray[np.float32]]:
    """The n best of a dense array whose index is the number; both masks (or NO_MASK) must allow."""
    result: tuple[Numbers, NDArray[np.float32]] = _best_of_all(scores, allow, also, n)
    return result


def union(numbers: Numbers, excluded: Numbers, n_items: int) -> Numbers:
    """The distinct numbers that are not excluded, ascending; all lie in 0 … n_items − 1."""
    result: Numbers = _union(numbers, np.ascontiguousarray(excluded, np.int32), n_items)
    return result


def looked_up(numbers: Numbers, scores: NDArray[np.float32], asked: Numbers) -> NDArray[np.float32]:
    """The scores of the numbers asked for, NaN for those that are not there.

    `numbers` ascend without repeats; fastest where `asked` ascends as well.
    """
    result: NDArray[np.float32] = _looked_up(
        np.ascontiguousarray(numbers, np.int32),
        np.ascontiguousarray(scores, np.float32),
        np.ascontiguousarray(asked, np.int32),
    )
    return result


def scaled_into(
    part: NDArray[np.float32], scores: NDArray[np.float32], retrieved: NDArray[np.float32]
) -> None:
    """part = max(scores, 0) / ‖max(retrieved, 0)‖, NaN as 0; all 0 where the norm is."""
    _scaled_into(
        part,
        np.ascontiguousarray(scores, np.float32),
        np.ascontiguousarray(retrieved, np.float32),
    )


def summed(
    numbers: Numbers, weights: NDArray[np.float32]
) -> tuple[Numbers, NDArray[np.float32], NDArray[np.float32]]:
    """Distinct numbers ascending, the sums of their weights and of their weights' sizes."""
    result: tuple[Numbers, NDArray[np.float32], NDArray[np.float32]] = _summed(numbers, weights)
    return result


@njit(cache=True, nogil=True)
def tighten(numbers, scores, count, n):  # type: ignore[no-untyped-def]
    """Moves the n best of the first `count` pairs to the front, in their order; gives the n-th.

    Numbers ascend, so that of equal scores those that come first are kept.
    """
    edge = np.partition(scores[:count], count - n)[count - n]
    above = 0
    for index in range(count):
        if scores[index] > edge:
            above += 1
    ties = n - above
    kept = 0
    for index in range(count):
        score = scores[index]
        if score > edge or (score == edge and ties > 0):
            if score == edge:
                ties -= 1
            numbers[kept] = numbers[index]
            scores[kept] = score
            kept += 1
    return edge


@njit(cache=True, nogil=True)
def _in_order(numbers, scores, count):  # type: ignore[no-untyped-def]
    order = np.argsort(-scores[:count], kind="mergesort")
    return numbers[:count][order], scores[:count][order]


@njit(cache=True, nogil=True)
def _contenders(numbers, scores, allow, n):  # type: ignore[no-untyped-def]
    """The pairs that are no worse than the n-th best, numbers ascending: few are left to sort."""
    valid = np.empty(len(scores), np.float32)
    count = 0
    for index in range(len(scores)):
        # NaN fails the comparison.
        if scores[index] < np.inf and (not len(allow) or allow[numbers[index]]):
            valid[count] = scores[index]
            count += 1
    edge = np.float32(-np.inf)
    if 0 < n < count:
        edge = np.partition(valid[:count], count - n)[count - n]
    chosen = np.flatnonzero((scores >= edge) & (scores < np.inf))
    chosen = chosen[np.argsort(numbers[chosen])]
    return numbers[chosen], scores[chosen]


@njit(PAIRS(_NUMBERS, _FLOATS, _MASK, types.int64), cache=True, nogil=True)
def _best_of_pairs(numbers, scores, allow, n):  # type: ignore[no-untyped-def]
    ascending = True
    for index in range(1, len(numbers)):
        if numbers[index] < numbers[index - 1]:
            ascending = False
            break
    if not ascending:
        numbers, scores = _contenders(numbers, scores, allow, n)
    size = min(4 * n, len(numbers))
    kept = np.empty(size, np.int32)
    best = np.empty(size, np.float32)
    count = 0
    edge = np.float32(-np.inf)
    for index in range(len(numbers)):
        score = scores[index]
        # NaN fails every comparison.
        if not (score > edge) or score == np.inf:
            continue
        number = numbers[index]
        if len(allow) and not allow[number]:
            continue
        if count == size:
            edge = tighten(kept, best, count, n)
            count = n
            if not (score > edge):
                continue
        kept[count] = number
        best[count] = score
        count += 1
    if count > n:
        tighten(kept, best, count, n)
        count = n
    return _in_order(kept, best, count)


@njit(PAIRS(_FLOATS, _MASK, _MASK, types.int64), cache=True, nogil=True)
def _best_of_all(scores, allow, also, n):  # type: ignore[no-untyped-def]
    size = min(4 * n, len(scores))
    kept = np.empty(size, np.int32)
    best = np.empty(size, np.float32)
    count = 0
    edge = np.float32(-np.inf)
    for number in range(len(scores)):
        score = scores[number]
        if not (score > edge) or score == np.inf:
            continue
        if (len(allow) and not allow[number]) or (len(also) and not also[number]):
            continue
        if count == size:
            edge = tighten(kept, best, count, n)
            count = n
            if not (score > edge):
                continue
        kept[count] = number
        best[count] = score
        count += 1
    if count > n:
        tighten(kept, best, count, n)
        count = n
    return _in_order(kept, best, count)


@njit(types.int32[::1](_NUMBERS, _NUMBERS, types.int64), cache=True, nogil=True)
def _union(numbers, excluded, n_items):  # type: ignore[no-untyped-def]
    blocks = np.zeros((n_items >> 6) + 1, np.uint64)
    for number in numbers:
        blocks[number >> 6] |= np.uint64(1) << np.uint64(number & 63)
    for number in excluded:
        if 0 <= number < n_items:
            blocks[number >> 6] &= ~(np.uint64(1) << np.uint64(number & 63))
    result = np.empty(len(numbers), np.int32)
    count = 0
    for index in range(len(blocks)):
        block = blocks[index]
        bit = 0
        while block:
            if block & np.uint64(1):
                result[count] = (index << 6) + bit
                count += 1
            block >>= np.uint64(1)
            bit += 1
    return result[:count].copy()


@njit(types.float32[::1](_NUMBERS, _FLOATS, _NUMBERS), cache=True, nogil=True)
def _looked_up(numbers, scores, asked):  # type: ignore[no-untyped-def]
    result = np.full(len(asked), np.nan, np.float32)
    cursor, before = 0, np.int32(-1)
    for index in range(len(asked)):
        number = asked[index]
        if number < before:
            cursor = np.searchsorted(numbers[:cursor], number)
        elif cursor + 8 < len(numbers) and numbers[cursor + 8] < number:
            cursor += np.searchsorted(numbers[cursor:], number)
        before = number
        while cursor < len(numbers) and numbers[cursor] < number:
            cursor += 1
        if cursor < len(numbers) and numbers[cursor] == number:
            result[index] = scores[cursor]
    return result


@njit(types.void(types.float32[::1], _FLOATS, _FLOATS), cache=True, nogil=True)
def _scaled_into(part, scores, retrieved):  # type: ignore[no-untyped-def]
    squares = 0.0
    for score in retrieved:
        if score > 0:
            squares += np.float64(score) * score
    norm = np.float32(np.sqrt(squares))
    for index in range(len(part)):
        score = scores[index]
        part[index] = score / norm if norm > 0 and score > 0 else np.float32(0)


@njit(
    _SUMS(_NUMBERS, _FLOATS),
    cache=True,
    nogil=True,
)
def _summed(numbers, weights):  # type: ignore[no-untyped-def]
    order = np.argsort(numbers, kind="mergesort")
    distinct = np.empty(len(numbers), np.int32)
    sums = np.zeros(len(numbers))
    sizes = np.zeros(len(numbers))
    last = -1
    for index in order:
        if last < 0 or numbers[index] != distinct[last]:
            last += 1
            distinct[last] = numbers[index]
        sums[last] += weights[index]
        sizes[last] += abs(weights[index])
    end = last + 1
    return distinct[:end].copy(), sums[:end].astype(np.float32), sizes[:end].astype(np.float32)
