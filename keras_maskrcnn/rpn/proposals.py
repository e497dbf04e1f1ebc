"""Proposals: the anchors that look like objects, moved and thinned (Faster R-CNN, 3.3)."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from keras_maskrcnn.ops.boxes import clip_boxes, decode_boxes, shortest_side
from keras_maskrcnn.ops.nms import batched_nms


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class ProposalLayer(keras.layers.Layer):
    """Takes the best anchors of each level, suppresses within levels, keeps the best of all.

    Args:
        pre_nms_top_n: Anchors kept of each level.
        post_nms_top_n: Proposals kept of each image.
        nms_threshold: IoU above which the lower-scored of two proposals of a level is dropped.
        min_size: Proposals with a side below this, in pixels, are dropped; those of no area
            always are.

    Call arguments:
        logits: For each level, (B, A_i) float32 objectness.
        deltas: For each level, (B, A_i, 4) float32.
        anchors: For each level, (A_i, 4) xyxy pixels.
        image_sizes: (B, 2) height and width of the valid part.
        suppress: Suppression within levels; as `ops.nms.batched_nms`.

    Returns:
        proposals (B, post_nms_top_n, 4) xyxy pixels, best first, zeros where padded, logits
        (B, post_nms_top_n), -inf where padded, and the number of valid ones (B,). None of them
        carries a gradient.
    """

    def __init__(
        self,
        pre_nms_top_n: int,
        post_nms_top_n: int,
        nms_threshold: float,
        min_size: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_jit = False  # XLA has no suppression over a batch
        self.autocast = False  # half precision would round coordinates to whole pixels
        self.pre_nms_top_n = pre_nms_top_n
        self.post_nms_top_n = post_nms_top_n
        self.nms_threshold = nms_threshold
        self.min_size = min_size

    def call(
        self,
        logits: Sequence[tf.Tensor],
        deltas: Sequence[tf.Tensor],
        anchors: Sequence[tf.Tensor],
        image_sizes: tf.Tensor,
        suppress: Callable = batched_nms,
    ):
        levels = [
            self._best_of_level(*level, image_sizes)
            for level in zip(logits, deltas, anchors, strict=True)
        ]
        boxes = tf.stack([level_boxes for level_boxes, _ in levels], axis=2)
        scores = tf.stack([level_scores for _, level_scores in levels], axis=2)
        proposals, scores, _, count = suppress(
            boxes,
            scores,
            iou_threshold=self.nms_threshold,
            max_per_group=self.post_nms_top_n,
            max_total=self.post_nms_top_n,
        )
        proposal_logits = tf.math.log(tf.math.expm1(scores))
        proposal_logits = tf.where(scores > 30.0, scores, proposal_logits)
        return tf.stop_gradient(proposals), tf.stop_gradient(proposal_logits), count

    def _best_of_level(self, logits, deltas, anchors, image_sizes):
        """Boxes (B, pre_nms_top_n, 4) and scores of one level; 0 where there is no proposal.

        The scores are softplus(logits): above 0, as suppression needs them, and unlike a sigmoid
        different for different logits however large.
        """
        number = tf.minimum(self.pre_nms_top_n, tf.shape(logits)[1])
        scores, indices = tf.math.top_k(logits, number)
        boxes = decode_boxes(tf.gather(deltas, indices, batch_dims=1), tf.gather(anchors, indices))
        finite = tf.reduce_all(tf.math.is_finite(boxes), axis=-1) & tf.math.is_finite(scores)
        boxes = clip_boxes(tf.where(finite[..., None], boxes, 0.0), image_sizes)
        side = shortest_side(boxes)
        large_enough = (side > 0.0) & (side >= self.min_size)
        scores = tf.where(finite & large_enough, tf.nn.softplus(scores), 0.0)
        missing = [[0, 0], [0, self.pre_nms_top_n - number]]
        boxes, scores = tf.pad(boxes, [*missing, [0, 0]]), tf.pad(scores, missing)
        expected = (None, self.pre_nms_top_n)
        return tf.ensure_shape(boxes, (*expected, 4)), tf.ensure_shape(scores, expected)

    def get_config(self):
        return {
            **super().get_config(),
            "pre_nms_top_n": self.pre_nms_top_n,
            "post_nms_top_n": self.post_nms_top_n,
            "nms_threshold": self.nms_threshold,
            "min_size": self.min_size,
        }
