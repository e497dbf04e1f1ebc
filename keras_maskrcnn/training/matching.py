"""Which anchor or proposal answers for which ground-truth box (Faster R-CNN, 3.1.2)."""

import tensorflow as tf

from keras_maskrcnn.ops.boxes import box_iou

FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1
GT_BOXES_AT_A_TIME = 64  # with a quarter of a million anchors 60 MB a table


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
    best, matched, is_best = _best_overlaps(boxes, gt_boxes, gt_valid)
    labels = tf.where(best >= fg_threshold, FOREGROUND, IGNORED)
    labels = tf.where(best < bg_threshold, BACKGROUND, labels)
    if allow_low_quality:
        labels = tf.where(is_best, FOREGROUND, labels)
    return matched, labels


def _best_overlaps(boxes, gt_boxes, gt_valid):
    """Some ground-truth boxes after the others: the table of a thousand would take gigabytes.

    Returns:
        (B, A): the largest IoU of each box, -1 without a ground-truth box, the index of the first
        that has it, and whether the box overlaps one of them more than any other box does.
    """
    shape = tf.shape(gt_boxes)[0], tf.shape(boxes)[1]

    def step(start, best, matched, is_best):
        some = slice(start, start + GT_BOXES_AT_A_TIME)
        iou = tf.where(gt_valid[:, None, some], box_iou(boxes, gt_boxes[:, some]), -1.0)
        best_of_gt = tf.reduce_max(iou, axis=1, keepdims=True)
        is_best |= tf.reduce_any((iou == best_of_gt) & (best_of_gt > 0.0), axis=2)
        best_of_some = tf.reduce_max(iou, axis=2)
        index = start + tf.argmax(iou, axis=2, output_type=tf.int32)
        matched = tf.where(best_of_some > best, index, matched)
        return start + GT_BOXES_AT_A_TIME, tf.maximum(best, best_of_some), matched, is_best

    nothing = 0, tf.fill(shape, -1.0), tf.zeros(shape, tf.int32), tf.zeros(shape, tf.bool)
    static = tf.TensorShape((gt_boxes.shape[0], boxes.shape[1]))
    number = tf.shape(gt_boxes)[1]
    _, *found = tf.while_loop(
        lambda start, *_: start < number,
        step,
        nothing,
        shape_invariants=(tf.TensorShape(()), *[static] * 3),
    )
    return found
