"""What lies around some cells of a pyramid's levels."""

from collections.abc import Sequence

import tensorflow as tf


def cut_out_patches(
    features: Sequence[tf.Tensor], cells: tf.Tensor, size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The square of cells around each of the given ones, zeros outside of the level's map.

    Args:
        features: (B, H_i, W_i, C) of each level.
        cells: (B, S) int32 into the cells of all levels, row by row, the first level first.
        size: Side of the square in cells, odd.

    Returns:
        patches (B * S, size, size, C), and which of their cells lie inside (B * S, size, size, 1).

    Example:
        >>> patches, inside = cut_out_patches([tf.ones((1, 4, 4, 8))], tf.constant([[0, 5]]), 3)
        >>> patches.shape, tf.reduce_sum(patches[..., 0], [1, 2]).numpy().tolist()
        (TensorShape([2, 3, 3, 8]), [4.0, 9.0])
    """
    shapes = tf.stack([tf.shape(level)[1:3] for level in features])
    counts = tf.reduce_prod(shapes, axis=1)
    cells = tf.expand_dims(tf.expand_dims(cells, -1), -1)
    level = tf.searchsorted(tf.cumsum(counts), tf.reshape(cells, [-1]), side="right")
    level = tf.reshape(level, tf.shape(cells))
    within = cells - tf.gather(tf.cumsum(counts, exclusive=True), level)
    height, width = tf.unstack(tf.gather(shapes, level), axis=-1)
    steps = tf.range(size) - size // 2
    y, x = within // width + steps[:, None], within % width + steps
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    patches = tf.add_n(
        [
            _gather_cells(features[i], y * width + x, inside & (level == i))
            for i in range(len(features))
        ]
    )
    channels = features[0].shape[-1]
    return (
        tf.reshape(patches, [-1, size, size, channels]),
        tf.reshape(inside, [-1, size, size, 1]),
    )


def _gather_cells(features, indices, chosen):
    """(B, S, size, size, C), zeros where not chosen."""
    batch, channels = tf.shape(features)[0], features.shape[-1]
    rows = tf.reshape(features, [batch, -1, channels])
    rows = tf.gather(rows, tf.where(chosen, indices, 0), batch_dims=1)
    return tf.where(chosen[..., None], rows, 0.0)
