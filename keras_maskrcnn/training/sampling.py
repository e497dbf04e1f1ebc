"""A random sample of foreground and background for a loss (Fast R-CNN, 2.3)."""

from typing import NamedTuple

import tensorflow as tf

from keras_maskrcnn.training.matching import BACKGROUND, FOREGROUND


class Sample(NamedTuple):
    """Boxes chosen from each image, the foreground first, padding last."""

    indices: tf.Tensor  # (B, K) int32 into the boxes
    foreground: tf.Tensor  # (B, K) bool
    valid: tf.Tensor  # (B, K) bool: not padding


def sample(labels: tf.Tensor, size: int, positive_fraction: float, seed: tf.Tensor) -> Sample:
    """Chooses up to `size` boxes of each image, as many of them foreground as are allowed.

    Args:
        labels: (B, A) int32 of `match`.
        size: K at most; all boxes where there are fewer.
        positive_fraction: Largest share of foreground in `size`.
        seed: (2,) int32: the same seed draws the same sample.
    """
    number = tf.shape(labels)[1]
    order = tf.random.stateless_uniform(tf.shape(labels), seed)
    most_positive = tf.minimum(int(size * positive_fraction), number)
    positive, is_positive = _first(order, labels == FOREGROUND, most_positive)
    negative, is_negative = _first(order, labels == BACKGROUND, tf.minimum(size, number))
    indices = tf.concat([positive, negative], axis=1)
    valid = tf.concat([is_positive, is_negative], axis=1)
    foreground = tf.concat([is_positive, tf.zeros_like(is_negative)], axis=1)
    # Of equal values the first: so the foreground, and background in the room that it leaves.
    kept = tf.math.top_k(tf.cast(valid, tf.float32), tf.minimum(size, tf.shape(valid)[1])).indices
    return Sample(*(tf.gather(part, kept, batch_dims=1) for part in (indices, foreground, valid)))


def _first(order, eligible, most):
    """Indices (B, most) of the eligible boxes with the largest `order`, and which exist."""
    values, indices = tf.math.top_k(tf.where(eligible, order, -1.0), most)
    return indices, values >= 0.0
