"""What the two stages should have said: targets for anchors, proposals and masks."""

from typing import NamedTuple

import tensorflow as tf

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.ops.boxes import box_area, encode_boxes
from keras_maskrcnn.training.matching import IGNORED, match
from keras_maskrcnn.training.sampling import Sample, sample


class AnchorTargets(NamedTuple):
    """Sampled anchors and the deltas that lead to their ground-truth boxes."""

    sample: Sample
    deltas: tf.Tensor  # (B, K, 4)


class ProposalTargets(NamedTuple):
    """Sampled proposals, their classes, and the deltas that lead to their ground-truth boxes."""

    boxes: tf.Tensor  # (B, K, 4) xyxy pixels, foreground first
    classes: tf.Tensor  # (B, K) int32; the number of classes for background
    deltas: tf.Tensor  # (B, K, 4)
    matched: tf.Tensor  # (B, K) int32 index of the ground-truth box
    foreground: tf.Tensor  # (B, K) bool
    valid: tf.Tensor  # (B, K) bool: not padding


def anchor_targets(
    anchors: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_valid: tf.Tensor,
    config: MaskRCNNConfig,
    seed: tf.Tensor,
) -> AnchorTargets:
    """Matches and samples the anchors of all levels together.

    Args:
        anchors: (A, 4) xyxy pixels.
        gt_boxes: (B, N, 4) xyxy pixels.
        gt_valid: (B, N) bool.
        config: Its `rpn_*` fields.
        seed: (2,) int32.
    """
    matched, labels = match(
        anchors[None],
        gt_boxes,
        gt_valid,
        config.rpn_fg_iou_threshold,
        config.rpn_bg_iou_threshold,
        allow_low_quality=True,
    )
    chosen = sample(labels, config.rpn_batch_size_per_image, config.rpn_positive_fraction, seed)
    matched = tf.gather(matched, chosen.indices, batch_dims=1)
    targets = tf.gather(gt_boxes, matched, batch_dims=1)
    return AnchorTargets(
        chosen, _encode(targets, tf.gather(anchors, chosen.indices), chosen.foreground)
    )


def proposal_targets(
    proposals: tf.Tensor,
    num_proposals: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_classes: tf.Tensor,
    config: MaskRCNNConfig,
    seed: tf.Tensor,
) -> ProposalTargets:
    """Matches and samples proposals, to which the ground-truth boxes themselves are added.

    Args:
        proposals: (B, R, 4) xyxy pixels.
        num_proposals: (B,) int32: the rest is padding.
        gt_boxes: (B, N, 4) xyxy pixels.
        gt_classes: (B, N) int32, -1 where padded.
        config: Its `box_*` fields.
        seed: (2,) int32.
    """
    gt_valid = gt_classes >= 0
    exists = tf.range(tf.shape(proposals)[1]) < num_proposals[:, None]
    exists = tf.concat([exists, gt_valid], axis=1)
    boxes = tf.concat([proposals, gt_boxes], axis=1)
    threshold = config.box_fg_iou_threshold
    matched, labels = match(boxes, gt_boxes, gt_valid, threshold, threshold)
    labels = tf.where(exists, labels, IGNORED)
    chosen = sample(labels, config.box_batch_size_per_image, config.box_positive_fraction, seed)
    boxes = tf.gather(boxes, chosen.indices, batch_dims=1)
    matched = tf.gather(matched, chosen.indices, batch_dims=1)
    classes = tf.gather(gt_classes, matched, batch_dims=1)
    deltas = _encode(
        tf.gather(gt_boxes, matched, batch_dims=1),
        boxes,
        chosen.foreground,
        config.box_regression_weights,
    )
    return ProposalTargets(
        boxes=tf.where(chosen.valid[..., None], boxes, 0.0),
        classes=tf.where(chosen.foreground, classes, config.num_classes),
        deltas=deltas,
        matched=matched,
        foreground=chosen.foreground,
        valid=chosen.valid,
    )


def mask_targets(
    boxes: tf.Tensor,
    matched: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_masks: tf.Tensor,
    size: int,
    style: str = "detectron2",
) -> tf.Tensor:
    """The ground-truth masks as the regions see them (Mask R-CNN, 3.1).

    In the style `"torchvision"` a mask is cut out by a RoIAlign that is not aligned: what it finds
    at a point lies half a pixel to the right of it and below, as in its features. Its values are
    means about a cell's centre, over a pixel of the image or a cell, whichever is larger, and stay
    between 0 and 1 at an outline.

    Args:
        boxes: (B, F, 4) xyxy pixels of the regions.
        matched: (B, F) int32 index of the ground-truth box of each.
        gt_boxes: (B, N, 4) xyxy pixels.
        gt_masks: (B, N, M, M) uint8, each cut out in its box.
        size: m, cells along a side of the target.
        style: `"detectron2"` or `"torchvision"`.

    Returns:
        (B, F, m, m) float32: the mask at the centre of each cell, 0 outside its box; 0 or 1 in the
        style `"detectron2"`.
    """
    smooth = style == "torchvision"
    boxes = boxes + 0.5 if smooth else boxes
    gt_boxes = tf.gather(gt_boxes, matched, batch_dims=1)
    masks = tf.cast(tf.gather(gt_masks, matched, batch_dims=1), tf.float32)
    cells = tf.shape(gt_masks)[-1]
    columns = _interpolation(
        boxes[..., 0], boxes[..., 2], gt_boxes[..., 0], gt_boxes[..., 2], size, cells, smooth
    )
    rows = _interpolation(
        boxes[..., 1], boxes[..., 3], gt_boxes[..., 1], gt_boxes[..., 3], size, cells, smooth
    )
    values = tf.matmul(tf.matmul(rows, masks), columns, transpose_b=True)
    return values if smooth else tf.cast(values >= 0.5, tf.float32)


def _interpolation(low, high, gt_low, gt_high, size, cells, smooth):
    """Weights (B, F, size, cells) of the mask's cells at the centres of a region's, on one axis.

    A tent over the nearest cells of the mask; if `smooth`, over a pixel or a region's cell.
    """
    step = ((high - low) / float(size))[..., None]
    points = low[..., None] + (tf.range(size, dtype=tf.float32) + 0.5) * step
    cell = tf.math.divide_no_nan(gt_high - gt_low, tf.cast(cells, tf.float32))[..., None]
    position = tf.math.divide_no_nan(points - gt_low[..., None], cell) - 0.5
    distance = tf.abs(position[..., None] - tf.range(tf.cast(cells, tf.float32)))
    if not smooth:
        return tf.maximum(1.0 - distance, 0.0)
    width = tf.maximum(tf.math.divide_no_nan(tf.maximum(step, 1.0), cell), 1.0)[..., None]
    return tf.maximum(1.0 - distance / width, 0.0) / width


def _encode(targets, boxes, foreground, weights=(1.0, 1.0, 1.0, 1.0)):
    """Box deltas where there is foreground, zeros elsewhere: nothing else has a target."""
    usable = foreground & (box_area(targets) > 0.0) & (box_area(boxes) > 0.0)
    anything = tf.constant([0.0, 0.0, 1.0, 1.0])
    targets = tf.where(usable[..., None], targets, anything)
    boxes = tf.where(usable[..., None], boxes, anything)
    return encode_boxes(targets, boxes, weights)
