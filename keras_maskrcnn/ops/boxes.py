"""Boxes are xyxy, in continuous pixels: a box from 0 to W is W wide."""

import math

import tensorflow as tf

# A predicted box is at most 1000/16 times as wide or high as the box it starts from.
LARGEST_LOG_SCALE = math.log(1000.0 / 16.0)


def box_area(boxes: tf.Tensor) -> tf.Tensor:
    """Areas (...,) of boxes (..., 4); an inverted box has none."""
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def shortest_side(boxes: tf.Tensor) -> tf.Tensor:
    """Width or height (...,) of boxes (..., 4), whichever is less; below 0 if inverted."""
    return tf.reduce_min(boxes[..., 2:] - boxes[..., :2], axis=-1)


def box_iou(boxes1: tf.Tensor, boxes2: tf.Tensor) -> tf.Tensor:
    """Intersection over union of (..., N, 4) with (..., M, 4) boxes: (..., N, M), 0..1."""
    x0, y0, x1, y1 = (boxes1[..., :, None, i] for i in range(4))
    left, top, right, bottom = (boxes2[..., None, :, i] for i in range(4))
    width = tf.maximum(tf.minimum(x1, right) - tf.maximum(x0, left), 0.0)
    height = tf.maximum(tf.minimum(y1, bottom) - tf.maximum(y0, top), 0.0)
    intersection = width * height
    union = box_area(boxes1)[..., :, None] + box_area(boxes2)[..., None, :] - intersection
    return tf.math.divide_no_nan(intersection, union)


def clip_boxes(boxes: tf.Tensor, image_sizes: tf.Tensor) -> tf.Tensor:
    """Boxes (B, ..., 4) cut off at the borders of their images.

    Args:
        boxes: xyxy pixels.
        image_sizes: (B, 2) height and width.
    """
    shape = tf.concat([tf.shape(boxes)[:1], tf.ones([boxes.shape.rank - 2], tf.int32), [4]], 0)
    height_width = tf.cast(image_sizes, boxes.dtype)
    limits = tf.reshape(tf.gather(height_width, [1, 0, 1, 0], axis=1), shape)
    return tf.clip_by_value(boxes, 0.0, limits)


def encode_boxes(boxes: tf.Tensor, anchors: tf.Tensor, weights=(1.0, 1.0, 1.0, 1.0)) -> tf.Tensor:
    """Box deltas (..., 4) that take `anchors` to `boxes` (R-CNN, appendix C).

    Args:
        boxes: (..., 4) xyxy targets with sides above 0.
        anchors: (..., 4) xyxy boxes to start from, with sides above 0.
        weights: Factors of (dx, dy, dw, dh).
    """
    size = boxes[..., 2:] - boxes[..., :2]
    anchor_size = anchors[..., 2:] - anchors[..., :2]
    centre = boxes[..., :2] + 0.5 * size
    anchor_centre = anchors[..., :2] + 0.5 * anchor_size
    shift = (centre - anchor_centre) / anchor_size
    scale = tf.math.log(size / anchor_size)
    return tf.concat([shift, scale], axis=-1) * tf.constant(weights, boxes.dtype)


def decode_boxes(deltas: tf.Tensor, anchors: tf.Tensor, weights=(1.0, 1.0, 1.0, 1.0)) -> tf.Tensor:
    """Boxes (..., 4) that `deltas` make of `anchors`: the inverse of `encode_boxes`.

    The growth of a side is limited to 1000/16, so that an untrained model cannot overflow.
    """
    deltas = deltas / tf.constant(weights, deltas.dtype)
    anchor_size = anchors[..., 2:] - anchors[..., :2]
    anchor_centre = anchors[..., :2] + 0.5 * anchor_size
    centre = deltas[..., :2] * anchor_size + anchor_centre
    half = 0.5 * tf.exp(tf.minimum(deltas[..., 2:], LARGEST_LOG_SCALE)) * anchor_size
    return tf.concat([centre - half, centre + half], axis=-1)
