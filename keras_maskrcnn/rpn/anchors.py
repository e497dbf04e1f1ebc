"""Anchors: the boxes that the region proposal network starts from (Faster R-CNN, 3.1.1)."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> np.ndarray:
    """The anchors (A, 4) of one cell, centred on 0: sizes outer, aspect ratios inner.

    Args:
        sizes: Square roots of the areas, in pixels.
        aspect_ratios: Height over width.
    """
    anchors = []
    for size in sizes:
        for ratio in aspect_ratios:
            width = np.sqrt(size**2 / ratio)
            height = ratio * width
            anchors.append([-width / 2, -height / 2, width / 2, height / 2])
    return np.array(anchors, np.float32)


def make_anchors(
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    stride: int,
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
) -> tf.Tensor:
    """The anchors (height * width * A, 4) of one feature map, xyxy pixels, row by row.

    Args:
        height: Rows of the map.
        width: Columns of the map.
        stride: Pixels per cell; the anchors of cell (i, j) are centred on (j, i) * stride.
        sizes: See `cell_anchors`.
        aspect_ratios: See `cell_anchors`.

    Example:
        >>> make_anchors(2, 3, 16, [32.0], [0.5, 1.0, 2.0]).shape
        TensorShape([18, 4])
    """
    y = tf.range(height, dtype=tf.float32) * float(stride)
    x = tf.range(width, dtype=tf.float32) * float(stride)
    y, x = tf.meshgrid(y, x, indexing="ij")
    centres = tf.stack([x, y, x, y], axis=-1)
    anchors = centres[:, :, None, :] + cell_anchors(sizes, aspect_ratios)
    return tf.reshape(anchors, [-1, 4])
