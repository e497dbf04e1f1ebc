"""A model of which an export replaces what its format has operators of its own for."""

import functools
from collections.abc import Callable

import tensorflow as tf


def with_substitutes(model, keep: Callable, cut_out: Callable):
    """A float32 copy of a `MaskRCNN` with another suppression and another RoIAlign.

    Args:
        model: A `MaskRCNN`.
        keep: Which boxes of a group stay, of those that score above 0. Takes boxes (M, N, 4),
            scores (M, N), the IoU threshold, and how many of a group may stay; returns (M, N) bool.
        cut_out: Takes the `RoIAlign` that it stands in for, then what that is called with.

    Raises:
        ValueError: The model pools its regions otherwise than by the mean of RoIAlign.
    """
    config = model.config
    if (config.roi_transform, config.roi_aggregation) != ("roi_align", "average"):
        raise ValueError(
            "ONNX and LiteRT take models with roi_transform='roi_align' and "
            f"roi_aggregation='average'; this one has {config.roi_transform!r} and "
            f"{config.roi_aggregation!r}."
        )
    copy = type(model)(config, dtype="float32")
    copy.set_weights(model.get_weights())
    copy.suppress = functools.partial(_best_of_kept, keep)
    copy.box_pooling = functools.partial(cut_out, copy.box_pooling)
    if config.mask:
        copy.mask_pooling = functools.partial(cut_out, copy.mask_pooling)
    return copy


def _best_of_kept(keep, boxes, scores, iou_threshold, max_per_group, max_total):
    """`ops.nms.batched_nms`, whose boxes are (B, N, G, 4) here, around `keep`."""
    _, number, groups = scores.shape
    boxes = tf.reshape(tf.transpose(boxes, [0, 2, 1, 3]), [-1, number, 4])
    scores = tf.reshape(tf.transpose(scores, [0, 2, 1]), [-1, number])
    kept = keep(boxes, scores, iou_threshold, min(max_per_group, number))
    total = min(max_total, groups * number)
    scores = tf.reshape(tf.where(kept, scores, 0.0), [-1, groups * number])
    best, indices = tf.math.top_k(scores, total)
    best_boxes = tf.gather(tf.reshape(boxes, [-1, groups * number, 4]), indices, batch_dims=1)
    valid = best > 0.0
    best_boxes = tf.where(valid[..., None], best_boxes, 0.0)
    classes = tf.where(valid, indices // number, 0)
    count = tf.reduce_sum(tf.cast(valid, tf.int32), axis=1)
    missing = [[0, 0], [0, max_total - total]]
    return (
        tf.pad(best_boxes, [*missing, [0, 0]]),
        tf.pad(best, missing),
        tf.pad(classes, missing),
        count,
    )
