"""Which anchor or proposal answers for which ground-truth box (Faster R-CNN, 3.1.2)."""

import tensorflow as tf

from keras_maskrcnn.ops.boxes import box_iou

FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1


def match(
    boxes: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_valid: tf.Tensor,
    fg_threshold: float,
    bg_threshold: float,
    allow_low_quality: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Matches each box with the ground-truth box that it overlaps most.

    Args:
        boxes: (B, A, 4) or (1, A, 4) xyxy anchors or proposals.
        gt_boxes: (B, N, 4) xyxy.
        gt_valid: (B, N) bool: which of them are not padding.
        fg_threshold: IoU from which a box is foreground.
        bg_threshold: IoU below which it is background; between the two it is ignored.
        allow_low_quality: Also take as foreground the boxes that overlap a ground-truth box more
            than any other box does, however little that is.

    Returns:
        matched (B, A) int32, the index of a ground-truth box, and labels (B, A) int32, one of
        `FOREGROUND`, `BACKGROUND`, `IGNORED`.
    """
    iou = tf.where(gt_valid[:, None, :], box_iou(boxes, gt_boxes), -1.0)
    best = tf.reduce_max(iou, axis=2)
    matched = tf.argmax(iou, axis=2, output_type=tf.int32)
    labels = tf.where(best >= fg_threshold, FOREGROUND, IGNORED)
    labels = tf.where(best < bg_threshold, BACKGROUND, labels)
    if allow_low_quality:
        best_of_gt = tf.reduce_max(iou, axis=1, keepdims=True)
        is_best = tf.reduce_any((iou == best_of_gt) & (best_of_gt > 0.0), axis=2)
        labels = tf.where(is_best, FOREGROUND, labels)
    return matched, labels
