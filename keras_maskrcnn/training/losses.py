"""The five losses (Mask R-CNN, section 3; Faster R-CNN, 3.1.2).

Under a `tf.distribute` strategy each is this replica's share: a sum over its own images, divided by
the number of anchors or regions of all replicas. The shares add up to the loss of the global batch.
"""

import tensorflow as tf

from keras_maskrcnn.ops.replicas import sum_over_replicas


def smooth_l1(difference: tf.Tensor, beta: float) -> tf.Tensor:
    """Elementwise x**2 / (2 beta) where |x| < beta, else |x| - beta / 2 (Fast R-CNN, eq. 3).

    Args:
        difference: x, of any shape.
        beta: Where the parabola turns into the line; 0 is plain L1.
    """
    size = tf.abs(difference)
    if beta == 0.0:
        return size
    return tf.where(size < beta, 0.5 * size**2 / beta, size - 0.5 * beta)


def rpn_losses(
    logits: tf.Tensor,
    deltas: tf.Tensor,
    delta_targets: tf.Tensor,
    foreground: tf.Tensor,
    valid: tf.Tensor,
    batch_size_per_image: int,
    beta: float = 0.0,
) -> dict[str, tf.Tensor]:
    """Binary cross-entropy of the objectness and smooth L1 of the deltas of sampled anchors.

    Both are sums over the number of anchors that a full sample has, as in Detectron2.

    Args:
        logits: (B, K) of the sampled anchors.
        deltas: (B, K, 4).
        delta_targets: (B, K, 4).
        foreground: (B, K) bool; only these have a box loss.
        valid: (B, K) bool; only these have an objectness loss.
        batch_size_per_image: Anchors of a full sample.
        beta: See `smooth_l1`.
    """
    images = sum_over_replicas(tf.cast(tf.shape(logits)[0], tf.float32))
    normalizer = images * float(batch_size_per_image)
    targets = tf.cast(foreground, tf.float32)
    objectness = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    box = tf.reduce_sum(smooth_l1(deltas - delta_targets, beta), axis=-1)
    return {
        "rpn_objectness_loss": _masked_sum(objectness, valid) / normalizer,
        "rpn_box_loss": _masked_sum(box, foreground) / normalizer,
    }


def box_losses(
    class_logits: tf.Tensor,
    deltas: tf.Tensor,
    class_targets: tf.Tensor,
    delta_targets: tf.Tensor,
    foreground: tf.Tensor,
    valid: tf.Tensor,
    beta: float = 0.0,
) -> dict[str, tf.Tensor]:
    """Cross-entropy of the class and smooth L1 of the true class's deltas of sampled proposals.

    Both are sums over the number of sampled proposals.

    Args:
        class_logits: (B, K, C + 1), background last.
        deltas: (B, K, C, 4).
        class_targets: (B, K) int32, C for background.
        delta_targets: (B, K, 4).
        foreground: (B, K) bool.
        valid: (B, K) bool.
        beta: See `smooth_l1`.
    """
    normalizer = _count(valid)
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(class_targets, class_logits)
    of_class = tf.where(foreground, class_targets, 0)
    deltas = tf.gather(deltas, of_class, batch_dims=2)
    box = tf.reduce_sum(smooth_l1(deltas - delta_targets, beta), axis=-1)
    return {
        "box_class_loss": _masked_sum(cross_entropy, valid) / normalizer,
        "box_loss": _masked_sum(box, foreground) / normalizer,
    }


def mask_loss(logits: tf.Tensor, targets: tf.Tensor, foreground: tf.Tensor) -> tf.Tensor:
    """Mean binary cross-entropy of the true class's mask over all foreground proposals' pixels.

    Args:
        logits: (B, F, m, m) of the true class.
        targets: (B, F, m, m) 0 or 1.
        foreground: (B, F) bool; the others do not count.
    """
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    return _masked_sum(tf.reduce_mean(cross_entropy, axis=[2, 3]), foreground) / _count(foreground)


def softmax_mask_loss(
    logits: tf.Tensor, class_ids: tf.Tensor, targets: tf.Tensor, foreground: tf.Tensor
) -> tf.Tensor:
    """Mean multinomial cross-entropy over all foreground proposals' pixels (the paper's table 2b).

    What a semantic segmentation minimises (FCN; Long et al. 2015): a pixel is of the region's
    class or of the background, and raises its channel at the expense of all others. So there is a
    channel for the background, as in FCN (21 for the 20 classes of PASCAL VOC), which the paper
    does not spell out: without one, a pixel beside the object would have no label.

    Args:
        logits: (B, F, m, m, C + 1), background last.
        class_ids: (B, F) int32, the true classes.
        targets: (B, F, m, m), the share of the true class in a pixel; the rest is background.
        foreground: (B, F) bool; the others do not count.
    """
    log_probabilities = tf.nn.log_softmax(logits)
    of_class = tf.one_hot(class_ids, logits.shape[-1])
    of_class = tf.einsum("bfhwk,bfk->bfhw", log_probabilities, of_class)
    cross_entropy = -targets * of_class - (1.0 - targets) * log_probabilities[..., -1]
    return _masked_sum(tf.reduce_mean(cross_entropy, axis=[2, 3]), foreground) / _count(foreground)


def _count(mask):
    """How many are chosen on all replicas, at least 1."""
    return tf.maximum(sum_over_replicas(tf.reduce_sum(tf.cast(mask, tf.float32))), 1.0)


def _masked_sum(values, mask):
    return tf.reduce_sum(tf.where(mask, values, 0.0))
