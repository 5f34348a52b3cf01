"""Interactions with a half-life of a family's own instead of that of the training data."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from recsys.dataset.training_data import TrainingData
from recsys.events.weighting import half_life_decay


def decayed_interactions(data: TrainingData, *, half_life_days: float) -> csr_array:
    """Users × items, float32: the weights by kind, halved with age at this rate, positive only.

    Equal to `data.interactions` where that is the half-life of `data.weighting`.
    """
    timeline = data.timeline
    decay = half_life_decay(
        timeline.times, now=data.as_of.timestamp(), half_life_days=half_life_days
    )
    weights = data.weighting.by_number()[timeline.kinds] * decay
    matrix = csr_array((weights, (timeline.users, timeline.items)), shape=data.interactions.shape)
    matrix.sum_duplicates()
    matrix.data[matrix.data < 0] = 0.0
    matrix.eliminate_zeros()
    return csr_array(matrix.astype(np.float32))


def binary_of(matrix: csr_array) -> csr_array:
    """1.0 wherever the matrix has an entry."""
    ones = np.ones(len(matrix.data), np.float32)
    return csr_array((ones, matrix.indices, matrix.indptr), shape=matrix.shape)
