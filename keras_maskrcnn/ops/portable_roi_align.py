"""RoIAlign and RoIPool over a feature pyramid in stock TensorFlow ops.

All levels lie in one table of cells. Each RoI looks up the cells around its sample points, weighs
them bilinearly, and averages them or takes the largest sample of each bin; RoIPool's samples are
the cells of its bins. RoIs go through in chunks, forward and backward, so that memory does not grow
with their number.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

# Cells looked up at a time; larger chunks are no faster and need more memory.
CELLS_PER_CHUNK = 100_000
# With adaptive sampling the RoIs of a chunk share the largest number of samples among them.
ROIS_PER_ADAPTIVE_CHUNK = 16
# Pixels; a box that reaches further, or is not finite, is moved to where there are no features.
FARTHEST = 1e6


def assign_levels(
    boxes: tf.Tensor, lowest: int, highest: int, canonical_size: float = 224.0
) -> tf.Tensor:
    """The pyramid level (...,) int32 of boxes (..., 4): equation 1 of the FPN paper.

    floor(4 + log2(sqrt(area) / canonical_size)), clamped to lowest..highest.
    """
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    root_area = tf.sqrt(sides[..., 0] * sides[..., 1])
    level = tf.floor(4.0 + tf.math.log(root_area / canonical_size + 1e-8) / tf.math.log(2.0))
    return tf.cast(tf.clip_by_value(level, float(lowest), float(highest)), tf.int32)


def roi_align(
    features: Sequence[tf.Tensor],
    boxes: tf.Tensor,
    strides: Sequence[int],
    output_size: int,
    sampling_ratio: int,
    aligned: bool,
    aggregation: str,
) -> tf.Tensor:
    """See `keras_maskrcnn.ops.roi_align.roi_align`."""
    offset = 0.5 if aligned else 0.0
    rois = _locate(features, boxes, strides)
    rois = rois._replace(
        start=rois.start - offset, size=(rois.end - offset) - (rois.start - offset)
    )
    if not aligned:
        rois = rois._replace(size=tf.maximum(rois.size, 1.0))

    def sample_axis(rois, axis):
        return _axis_samples(rois, axis, output_size, sampling_ratio)

    if sampling_ratio == 0:
        samples = tf.math.ceil(rois.size / output_size)
        return _pool_by_size(features, boxes, rois, samples, output_size, sample_axis, aggregation)
    table = _table(features)
    rois_per_chunk = max(1, CELLS_PER_CHUNK // (4 * (output_size * sampling_ratio) ** 2))
    pooled = _pool(table, rois, output_size, sample_axis, aggregation, rois_per_chunk)
    return _as_regions(pooled, boxes, output_size)


def roi_pool(
    features: Sequence[tf.Tensor], boxes: tf.Tensor, strides: Sequence[int], output_size: int
) -> tf.Tensor:
    """See `keras_maskrcnn.ops.roi_align.roi_pool`."""
    rois = _locate(features, boxes, strides)
    start = _round_away_from_zero(rois.start)
    size = tf.maximum(_round_away_from_zero(rois.end) - start + 1.0, 1.0)
    rois = rois._replace(start=start, size=size)

    def sample_axis(rois, axis):
        return _axis_cells(rois, axis, output_size)

    cells = tf.math.ceil(size / output_size)
    return _pool_by_size(features, boxes, rois, cells, output_size, sample_axis, "max")


class _Rois(NamedTuple):
    """RoIs on their level of the pyramid, rows before columns."""

    start: tf.Tensor  # (N, 2) top and left, in cells
    end: tf.Tensor  # (N, 2) bottom and right, in cells
    size: tf.Tensor  # (N, 2) height and width, in cells
    map_shape: tf.Tensor  # (N, 2) int32 rows and columns of the level's map
    first_cell: tf.Tensor  # (N,) int32 where that map begins in the table


def _locate(features, boxes, strides):
    """The boxes (B, R, 4) as _Rois, N = B * R."""
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    sensible = tf.reduce_all(tf.abs(boxes) <= FARTHEST, axis=-1, keepdims=True)
    boxes = tf.where(sensible, boxes, -FARTHEST)
    level = tf.zeros(tf.shape(boxes)[:2], tf.int32)
    if len(features) > 1:
        lowest = strides[0].bit_length() - 1
        level = assign_levels(boxes, lowest, lowest + len(features) - 1) - lowest
    shapes = tf.stack([tf.shape(level_map) for level_map in features])
    cells = shapes[:, 1] * shapes[:, 2]
    first_of_level = tf.cumsum(shapes[:, 0] * cells, exclusive=True)
    image = tf.range(tf.shape(boxes)[0])[:, None]
    first_cell = tf.gather(first_of_level, level) + image * tf.gather(cells, level)
    stride = tf.gather(tf.constant(strides, tf.float32), level)[..., None]
    start = tf.reshape(boxes[..., 1::-1] / stride, [-1, 2])
    end = tf.reshape(boxes[..., 3:1:-1] / stride, [-1, 2])
    map_shape = tf.reshape(tf.gather(shapes[:, 1:3], level), [-1, 2])
    return _Rois(start, end, end - start, map_shape, tf.reshape(first_cell, [-1]))


def _round_away_from_zero(values):
    whole = tf.floor(tf.abs(values))
    return tf.sign(values) * tf.where(tf.abs(values) - whole >= 0.5, whole + 1.0, whole)


def _table(features):
    """The cells (T, C) of all maps, one after the other."""
    return tf.concat([tf.reshape(level, [-1, level.shape[-1]]) for level in features], axis=0)


def _as_regions(pooled, boxes, output_size):
    """Bins (B * R * output_size**2, C) as (B, R, output_size, output_size, C)."""
    shape = [output_size, output_size, pooled.shape[-1]]
    regions = tf.reshape(pooled, tf.concat([tf.shape(boxes)[:2], shape], 0))
    return tf.ensure_shape(regions, [*boxes.shape[:2], *shape])


def _pool_by_size(features, boxes, rois, samples, output_size, sample_axis, aggregation):
    """Pools RoIs that need different numbers (N, 2) of samples, those of a chunk about as many."""
    order = tf.argsort(samples[:, 0] * 1e4 + samples[:, 1])
    rois = tf.nest.map_structure(lambda part: tf.gather(part, order), rois)
    chunk = ROIS_PER_ADAPTIVE_CHUNK
    pooled = _pool(_table(features), rois, output_size, sample_axis, aggregation, chunk)
    pooled = tf.reshape(pooled, [-1, output_size**2, pooled.shape[-1]])
    pooled = tf.gather(pooled, tf.argsort(order))
    return _as_regions(pooled, boxes, output_size)


def _pool(table, rois, output_size, sample_axis, aggregation, rois_per_chunk):
    """(N * output_size**2, C) features of N RoIs from the table of all levels' cells.

    `sample_axis(rois, axis)` gives the samples along an axis as `_axis_samples` does.
    """
    count = tf.shape(rois.first_cell)[0]
    rois_per_chunk = tf.maximum(tf.minimum(rois_per_chunk, count), 1)
    chunks = tf.maximum(-(-count // rois_per_chunk), 1)
    rois = _pad(rois, chunks * rois_per_chunk - count)
    channels = table.shape[-1]

    def look_up(i):
        chunk = slice(i * rois_per_chunk, (i + 1) * rois_per_chunk)
        chunk_rois = tf.nest.map_structure(lambda part: part[chunk], rois)
        return _sample_points(chunk_rois, sample_axis)

    def forward(table):
        def step(i, outputs):
            cells, weights, counted = look_up(i)
            pooled = _aggregate(tf.gather(table, cells), weights, counted, aggregation)
            return i + 1, outputs.write(i, pooled)

        outputs = tf.TensorArray(tf.float32, chunks, element_shape=[None, channels])
        _, outputs = tf.while_loop(lambda i, _: i < chunks, step, (0, outputs))
        return tf.cast(outputs.concat(), table.dtype)

    def backward(table, upstream):
        upstream = tf.reshape(tf.cast(upstream, tf.float32), [chunks, -1, channels])

        def step(i, table_gradient):
            cells, weights, counted = look_up(i)
            values = tf.cast(tf.gather(table, cells), tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(values)
                pooled = _aggregate(values, weights, counted, aggregation)
            gradient = tape.gradient(pooled, values, upstream[i])
            return i + 1, tf.tensor_scatter_nd_add(table_gradient, cells[..., None], gradient)

        start = (0, tf.zeros(tf.shape(table), tf.float32))
        _, table_gradient = tf.while_loop(lambda i, _: i < chunks, step, start)
        return tf.cast(table_gradient, table.dtype)

    @tf.custom_gradient
    def pool(table):
        return forward(table), lambda upstream: backward(table, upstream)

    return pool(table)[: count * output_size**2]


def _pad(rois, missing):
    """The RoIs with `missing` more, of size 0, behind them."""
    return tf.nest.map_structure(
        lambda part: tf.pad(part, [[0, missing]] + [[0, 0]] * (part.shape.rank - 1)), rois
    )


def _sample_points(rois, sample_axis):
    """The cells around every sample point of N RoIs.

    A bin has Sy x Sx samples; around them lie 2 Sy x 2 Sx cells, M = N * bins**2.

    Returns:
        cells (M, 2 Sy, 2 Sx) int32 into the table, their bilinear weights, and which samples
        there are (M, Sy, Sx), since RoIs of one chunk need different numbers.
    """
    rows, columns = sample_axis(rois, 0), sample_axis(rois, 1)
    # Axes: RoI, row of bins, column of bins, rows within the bin, columns within the bin.
    row, row_weight, row_counted = (part[:, :, None, :, None] for part in rows)
    column, column_weight, column_counted = (part[:, None, :, None, :] for part in columns)
    width = rois.map_shape[:, 1, None, None, None, None]
    cells = rois.first_cell[:, None, None, None, None] + row * width + column
    parts = cells, row_weight * column_weight, row_counted & column_counted
    return [tf.reshape(part, tf.concat([[-1], tf.shape(part)[3:]], 0)) for part in parts]


def _axis_samples(rois, axis, bins, sampling_ratio):
    """Sample points of N RoIs along one axis.

    Returns:
        The two cells around each point (N, bins, 2 S) int32, their weights, which are 0 for a
        point more than one cell outside, and which samples there are (N, bins, S).
    """
    start, size = rois.start[:, axis, None, None], rois.size[:, axis, None, None]
    limit = tf.cast(rois.map_shape[:, axis, None, None], tf.float32)
    if sampling_ratio > 0:
        samples, most = tf.fill(tf.shape(size), float(sampling_ratio)), sampling_ratio
    else:
        samples = tf.maximum(tf.math.ceil(size / bins), 0.0)
        most = tf.maximum(tf.cast(tf.reduce_max(samples), tf.int32), 1)
    sample = tf.range(tf.cast(most, tf.float32))
    within_bin = (sample + 0.5) / tf.maximum(samples, 1.0)
    point = start + (tf.range(float(bins))[:, None] + within_bin) * (size / bins)
    counted = tf.broadcast_to(sample < samples, tf.shape(point))
    inside = (point >= -1.0) & (point <= limit) & counted
    point = tf.where(inside, tf.clip_by_value(point, 0.0, tf.maximum(limit - 1.0, 0.0)), 0.0)
    low = tf.floor(point)
    weights = tf.stack([low + 1.0 - point, point - low], axis=-1)
    weights = tf.where(inside[..., None], weights, 0.0)
    cells = tf.stack([low, tf.minimum(low + 1.0, tf.maximum(limit - 1.0, 0.0))], axis=-1)
    pairs = [-1, bins, 2 * most]
    return tf.reshape(tf.cast(cells, tf.int32), pairs), tf.reshape(weights, pairs), counted


def _axis_cells(rois, axis, bins):
    """The cells of RoIPool's bins along one axis, as `_axis_samples` gives its sample points."""
    start, size = rois.start[:, axis, None], rois.size[:, axis, None]
    limit = tf.cast(rois.map_shape[:, axis, None], tf.float32)
    bin_number, bin_size = tf.range(float(bins)), size / bins
    first = tf.floor(bin_number * bin_size) + start
    last = tf.math.ceil((bin_number + 1.0) * bin_size) + start
    first, last = (tf.clip_by_value(edge, 0.0, limit)[..., None] for edge in (first, last))
    most = tf.maximum(tf.cast(tf.reduce_max(last - first), tf.int32), 1)
    cell = first + tf.range(tf.cast(most, tf.float32))
    counted = cell < last
    cell = tf.cast(tf.where(counted, cell, 0.0), tf.int32)
    weight = tf.cast(counted, tf.float32)
    pairs = [-1, bins, 2 * most]
    cells = tf.reshape(tf.stack([cell, cell], axis=-1), pairs)
    weights = tf.reshape(tf.stack([weight, tf.zeros_like(weight)], axis=-1), pairs)
    return cells, weights, counted


def _aggregate(values, weights, counted, aggregation):
    """(M, C) from the cells (M, 2 Sy, 2 Sx, C) around a bin's samples, and their weights."""
    values = tf.cast(values, tf.float32)
    if aggregation == "average":
        number = tf.reduce_sum(tf.cast(counted, tf.float32), axis=[1, 2], keepdims=True)
        bins = tf.shape(values)[0]
        weights = tf.reshape(weights / tf.maximum(number, 1.0), [bins, 1, -1])
        values = tf.reshape(values, [bins, -1, values.shape[-1]])
        return tf.squeeze(tf.matmul(weights, values), axis=1)
    shape = tf.shape(counted)
    weighted = tf.reshape(
        values * weights[..., None], [shape[0], shape[1], 2, shape[2], 2, values.shape[-1]]
    )
    samples = tf.where(counted[..., None], tf.reduce_sum(weighted, axis=[2, 4]), values.dtype.min)
    samples = tf.transpose(tf.reshape(samples, [shape[0], -1, values.shape[-1]]), [0, 2, 1])
    # Of equal samples the first takes the whole gradient; tf.reduce_max would share it out.
    largest = tf.gather(samples, tf.argmax(samples, axis=-1), batch_dims=2)
    return tf.where(tf.reduce_any(counted, axis=[1, 2])[:, None], largest, 0.0)
