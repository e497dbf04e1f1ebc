"""What lies around some cells of a pyramid's levels."""

from collections.abc import Sequence

import tensorflow as tf


def cut_out_patches(
    features: Sequence[tf.Tensor], cells: tf.Tensor, size: int
) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    """The square of cells around each of the given ones, zeros outside of the level's map.

    Args:
        features: (B, H_i, W_i, C) of each level.
        cells: (B, S) int32 into the cells of all levels, row by row, the first level first.
        size: Side of the square in cells, odd.

    Returns:
        patches (B * S, size, size, C); which of their cells lie inside (B * S, size, size, 1); and
        the features, for what else reads them: to its gradients those of the patches are added in
        their place, where they would else need maps of their own.

    Example:
        >>> patches, *_ = cut_out_patches([tf.ones((1, 4, 4, 8))], tf.constant([[0, 5]]), 3)
        >>> patches.shape, tf.reduce_sum(patches[..., 0], [1, 2]).numpy().tolist()
        (TensorShape([2, 3, 3, 8]), [4.0, 9.0])
    """
    shapes = tf.stack([tf.shape(level)[1:3] for level in features])
    counts = tf.reduce_prod(shapes, axis=1)
    cells = cells[..., None, None]
    passed = cells[..., None] >= tf.cumsum(counts)
    level = tf.reduce_sum(tf.cast(passed, tf.int32), axis=-1)
    within = cells - tf.gather(tf.cumsum(counts, exclusive=True), level)
    height, width = tf.unstack(tf.gather(shapes, level), axis=-1)
    steps = tf.range(size) - size // 2
    y, x = within // width + steps[:, None], within % width + steps
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    of_level = [inside & (level == i) for i in range(len(features))]
    patches, *features = _gather_cells(features, y * width + x, of_level)
    side = [-1, size, size]
    patches = tf.reshape(patches, [*side, patches.shape[-1]])
    return patches, tf.reshape(inside, [*side, 1]), features


def _gather_cells(features, indices, chosen):
    """(B, S, size, size, C), zeros where no level is chosen; and the features."""
    indices = [tf.where(of_level, indices, 0) for of_level in chosen]
    masks = [of_level[..., None] for of_level in chosen]

    @tf.custom_gradient
    def gather(*features):
        def gradient(patches, *upstream):
            return [
                _add_cells(gradients, index, tf.where(mask, patches, 0.0))
                for gradients, index, mask in zip(upstream, indices, masks, strict=True)
            ]

        rows = [
            tf.where(mask, tf.gather(_flatten(level), index, batch_dims=1), 0.0)
            for level, index, mask in zip(features, indices, masks, strict=True)
        ]
        return (tf.add_n(rows), *features), gradient

    return gather(*features)


def _flatten(level):
    return tf.reshape(level, [tf.shape(level)[0], -1, level.shape[-1]])


def _add_cells(gradients, indices, values):
    """The gradients (B, H, W, C), with values (B, S, size, size, C) added at cells."""
    batch, height, width, channels = tf.unstack(tf.shape(gradients))
    first = tf.range(batch) * height * width
    indices = tf.reshape(indices + first[:, None, None, None], [-1, 1])
    rows = tf.reshape(gradients, [-1, channels])
    rows = tf.tensor_scatter_nd_add(rows, indices, tf.reshape(values, [-1, channels]))
    return tf.reshape(rows, tf.shape(gradients))
