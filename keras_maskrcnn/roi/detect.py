"""Final detections from the outputs of the box branch (Fast R-CNN, section 2)."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from keras_maskrcnn.ops.boxes import clip_boxes, decode_boxes, shortest_side
from keras_maskrcnn.ops.nms import batched_nms


def detect(
    class_logits: tf.Tensor,
    deltas: tf.Tensor,
    proposals: tf.Tensor,
    num_proposals: tf.Tensor,
    image_sizes: tf.Tensor,
    score_threshold: float | Sequence[float] = 0.05,
    nms_threshold: float = 0.5,
    detections_per_image: int = 100,
    regression_weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
    min_size: float = 0.0,
    suppress: Callable = batched_nms,
) -> dict[str, tf.Tensor]:
    """Each proposal moved for each class, thinned per class, the best of all classes kept.

    Args:
        class_logits: (B, R, K + 1), background last.
        deltas: (B, R, K, 4).
        proposals: (B, R, 4) xyxy pixels.
        num_proposals: (B,) int32: the rest of an image's proposals is padding.
        image_sizes: (B, 2) height and width; boxes are clipped to them.
        score_threshold: Detections score more than this; one for all classes, or K. What does not
            takes no place among the `detections_per_image`.
        nms_threshold: IoU above which the lower-scored of two detections of a class is dropped.
        detections_per_image: D, the largest number of detections.
        regression_weights: Factors of (dx, dy, dw, dh) in `deltas`.
        min_size: Detections with a side below this, in pixels, are dropped.
        suppress: Suppression within classes; as `ops.nms.batched_nms`.

    Returns:
        `boxes` (B, D, 4) xyxy pixels, `scores` (B, D), `classes` (B, D) int32, -1 where padded,
        and `num_detections` (B,) int32, best first.
    """
    scores = tf.nn.softmax(class_logits)[..., :-1]
    boxes = decode_boxes(deltas, proposals[:, :, None, :], regression_weights)
    finite = tf.reduce_all(tf.math.is_finite(boxes), axis=-1) & tf.math.is_finite(scores)
    valid = tf.range(tf.shape(proposals)[1]) < num_proposals[:, None]
    boxes = clip_boxes(tf.where(finite[..., None], boxes, 0.0), image_sizes)
    large_enough = shortest_side(boxes) >= min_size
    enough = scores > tf.constant(score_threshold, scores.dtype)
    scores = tf.where(finite & valid[..., None] & large_enough & enough, scores, 0.0)
    boxes, scores, classes, count = suppress(
        boxes,
        scores,
        iou_threshold=nms_threshold,
        max_per_group=detections_per_image,
        max_total=detections_per_image,
    )
    padded = tf.range(detections_per_image) >= count[:, None]
    return {
        "boxes": boxes,
        "scores": scores,
        "classes": tf.where(padded, -1, classes),
        "num_detections": count,
    }
