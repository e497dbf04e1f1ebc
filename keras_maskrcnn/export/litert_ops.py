"""Suppression and RoIAlign of LiteRT's built-in operators; see `substitutes.with_substitutes`.

LiteRT copies the list that a loop fills at each turn. So RoIAlign fills short lists, of which
there are few.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from keras_maskrcnn.ops.portable_roi_align import assign_levels

ROIS_PER_CHUNK = 32


def keep(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    iou_threshold: float,
    max_kept: int,
) -> tf.Tensor:
    """Which boxes (M, N, 4) of scores (M, N) above 0 stay, (M, N) bool, suppressed in each row."""

    def keep_of_group(group):
        indices, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=group[0],
            scores=group[1],
            max_output_size=max_kept,
            iou_threshold=iou_threshold,
            score_threshold=0.0,
            pad_to_max_output_size=True,
        )
        valid = tf.cast(tf.range(max_kept) < count, tf.int32)
        return tf.scatter_nd(indices[:, None], valid, tf.shape(group[1])) > 0

    return tf.map_fn(keep_of_group, (boxes, scores), fn_output_signature=tf.bool)


def roi_align(layer, features, boxes: tf.Tensor) -> tf.Tensor:
    """`layer`, a `RoIAlign` that averages, on the maps and boxes (1, R, 4) of one image.

    Boxes are finite and none is inverted, as proposals and detections are.

    Bilinear interpolation and the mean of a bin's samples are linear, and so separable: the
    weights of the rows (bins, h) and of the columns (bins, w) are multiplied with the h x w cells
    that a region touches.
    """
    bins, channels = layer.output_size, features[0].shape[-1]
    cells = tf.concat([tf.reshape(level, [-1, channels]) for level in features], axis=0)
    boxes = boxes[0]
    most = tf.shape(boxes)[0]
    # Behind the last box there are only zeros. Were their number not counted as it runs, the
    # converter would write the list to fill into the file, as large as the result.
    number = tf.reduce_max(
        tf.range(1, most + 1) * tf.cast(tf.reduce_any(boxes != 0.0, 1), tf.int32)
    )
    rois = _locate(layer, features, boxes[:number])
    chunks = tf.maximum((number + ROIS_PER_CHUNK - 1) // ROIS_PER_CHUNK, 1)

    def in_chunks(part):
        part = tf.pad(
            part, [[0, chunks * ROIS_PER_CHUNK - number]] + [[0, 0]] * len(part.shape[1:])
        )
        return tf.reshape(part, [chunks, ROIS_PER_CHUNK, *part.shape[1:]])

    def pool(roi):
        roi = _Rois(*roi)
        rows, of_rows = _weights(roi, 0, bins)
        columns, of_columns = _weights(roi, 1, bins)
        width = roi.map_shape[1]
        touched = tf.gather(cells, roi.first_cell + rows[:, None] * width + columns)
        height, width = tf.unstack(tf.shape(touched)[:2])
        pooled = tf.matmul(of_rows, tf.reshape(touched, [height, width * channels]))
        pooled = tf.reshape(pooled, [bins, width, channels])
        return tf.matmul(tf.tile(of_columns[None], [bins, 1, 1]), pooled)

    region = (bins, bins, channels)
    pooled = tf.map_fn(
        lambda chunk: tf.map_fn(pool, chunk, fn_output_signature=tf.TensorSpec(region)),
        tuple(in_chunks(part) for part in rois),
        fn_output_signature=tf.TensorSpec((ROIS_PER_CHUNK, *region)),
    )
    pooled = tf.reshape(pooled, [-1, *region])[:number]
    pooled = tf.pad(pooled, [[0, most - number], [0, 0], [0, 0], [0, 0]])
    return tf.reshape(pooled, [1, most, *region])


class _Rois(NamedTuple):
    """RoIs on their level of the pyramid, rows before columns."""

    first_point: tf.Tensor  # (R, 2) where the first bin begins, in cells
    bin_size: tf.Tensor  # (R, 2) in cells
    samples: tf.Tensor  # (R, 2) samples a bin
    map_shape: tf.Tensor  # (R, 2) int32 rows and columns of the level's map
    first_cell: tf.Tensor  # (R,) int32 of that map among those of all maps


def _locate(layer, features, boxes):
    level = tf.zeros(tf.shape(boxes)[:1], tf.int32)
    if len(features) > 1:
        lowest = layer.strides[0].bit_length() - 1
        level = assign_levels(boxes, lowest, lowest + len(features) - 1) - lowest
    shapes = [level_map.shape[1:3].as_list() for level_map in features]
    before = [sum(math.prod(shape) for shape in shapes[:i]) for i in range(len(shapes))]
    boxes /= tf.gather(tf.constant(layer.strides, tf.float32), level)[:, None]
    start, end = boxes[:, 1::-1], boxes[:, 3:1:-1]
    offset = 0.5 if layer.aligned else 0.0
    start, end = start - offset, end - offset
    size = end - start if layer.aligned else tf.maximum(end - start, 1.0)
    bin_size = size / layer.output_size
    samples = tf.fill(tf.shape(size), float(layer.sampling_ratio))
    if layer.sampling_ratio == 0:
        samples = tf.math.ceil(bin_size)
    return _Rois(start, bin_size, samples, tf.gather(shapes, level), tf.gather(before, level))


def _weights(roi, axis, bins):
    """The rows or columns that one RoI touches, (n,) int32, and their weights (bins, n)."""
    samples = tf.maximum(roi.samples[axis], 1.0)
    limit = tf.cast(roi.map_shape[axis], tf.float32)
    within_bin = (tf.range(samples) + 0.5) / samples
    points = tf.range(float(bins))[:, None] + within_bin
    points = roi.first_point[axis] + points * roi.bin_size[axis]
    inside = (points >= -1.0) & (points <= limit) & (roi.samples[axis] > 0.0)
    points = tf.clip_by_value(points, 0.0, tf.maximum(limit - 1.0, 0.0))
    last = tf.minimum(tf.floor(points[-1, -1]) + 1.0, tf.maximum(limit - 1.0, 0.0))
    touched = tf.range(tf.floor(points[0, 0]), last + 1.0)
    weights = tf.maximum(1.0 - tf.abs(points[..., None] - touched), 0.0)
    weights = tf.where(inside[..., None], weights, 0.0)
    return tf.cast(touched, tf.int32), tf.reduce_sum(weights, axis=1) / samples
