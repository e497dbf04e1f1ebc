"""Non-maximum suppression over a whole batch in one call."""

import tensorflow as tf


def batched_nms(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    iou_threshold: float,
    max_per_group: int,
    max_total: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Suppresses within groups (classes, or levels of a pyramid), then takes the best of all.

    Args:
        boxes: (B, N, 1 or G, 4) xyxy; with 1, a box is the same for each group.
        scores: (B, N, G) scores of each box in each group; only those above 0 take part.
        iou_threshold: A box that overlaps a better one of its group by more than this is dropped.
        max_per_group: Largest number kept of a group.
        max_total: Largest number kept of an image.

    Returns:
        boxes (B, max_total, 4), scores (B, max_total), groups (B, max_total) int32, best first,
        zeros where padded, and the number of valid ones (B,) int32.

    Example:
        >>> boxes = tf.constant([[[[0., 0., 10., 10.]], [[1., 0., 10., 10.]]]])
        >>> *_, count = batched_nms(boxes, tf.constant([[[0.9], [0.8]]]), 0.5, 10, 10)
        >>> int(count[0])
        1
    """
    # TensorFlow's op is symmetric in x and y: xyxy boxes suppress each other just as yxyx ones.
    kept, kept_scores, groups, count = tf.image.combined_non_max_suppression(
        boxes,
        scores,
        max_output_size_per_class=max_per_group,
        max_total_size=max_total,
        iou_threshold=iou_threshold,
        score_threshold=0.0,
        clip_boxes=False,
    )
    return kept, kept_scores, tf.cast(groups, tf.int32), count
