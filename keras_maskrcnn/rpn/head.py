"""The head of the region proposal network (Faster R-CNN, 3.1)."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_maskrcnn.backbones.conv_norm import ConvNorm
from keras_maskrcnn.backbones.sequential import run_sequential
from keras_maskrcnn.rpn.patches import cut_out_patches

MOST_PATCHES = 4096  # an image, of 3x3 cells: 38 MB of 256 channels


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RPNHead(keras.layers.Layer):
    """Objectness and box deltas of every anchor of a feature map; shared by all levels.

    Args:
        channels: Channels of the features and of the 3x3 convolutions.
        anchors_per_cell: Anchors at each cell.
        conv_depth: 3x3 convolutions before the predictors; 1 in the paper.

    Call arguments:
        features: (B, H, W, channels).

    Returns:
        logits (B, H * W * A) and deltas (B, H * W * A, 4), both float32, in the order of
        `make_anchors`.
    """

    def __init__(
        self, channels: int = 256, anchors_per_cell: int = 3, conv_depth: int = 1, **kwargs
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.anchors_per_cell = anchors_per_cell
        self.conv_depth = conv_depth
        self.convs = [
            self._conv(channels, 3, activation="relu", name=f"conv{i}", dtype=self.dtype_policy)
            for i in range(1, conv_depth + 1)
        ]
        # Half precision has few distinct logits, and the order of the anchors would break the ties.
        self.objectness = self._conv(anchors_per_cell, 1, name="objectness", dtype="float32")
        self.deltas = self._conv(4 * anchors_per_cell, 1, name="deltas", dtype="float32")

    def _conv(self, *args, **kwargs):
        normal = keras.initializers.RandomNormal(stddev=0.01)
        return ConvNorm(*args, kernel_initializer=normal, **kwargs)

    def build(self, input_shape):
        for conv in (*self.convs, self.objectness, self.deltas):
            conv.build((None, None, None, self.channels))

    def call(self, features):
        return self._predict(run_sequential(self.convs, features), tf.shape(features)[0])

    def at_anchors(
        self, features: Sequence[tf.Tensor], indices: tf.Tensor, most: int
    ) -> tuple[tf.Tensor, tf.Tensor, Sequence[tf.Tensor]]:
        """Logits (B, S) and deltas (B, S, 4) of some of the anchors, as `call` gives them.

        The gradients of a loss over few anchors go through the surroundings of these alone;
        through the outputs of `call` they would go, nearly all of them zero, over whole maps.

        Args:
            features: (B, H_i, W_i, channels) of each level.
            indices: (B, S) int32 into the anchors of all levels.
            most: S at most; of very many the surroundings would be larger than the maps.

        Returns:
            logits, deltas, and the features for what else reads them; see `cut_out_patches`.
        """
        if most > MOST_PATCHES:
            return *self._from_maps(features, indices), features
        return self._from_patches(features, indices)

    def _from_patches(self, features, indices):
        size = 2 * self.conv_depth + 1
        cells = indices // self.anchors_per_cell
        hidden, inside, features = cut_out_patches(features, cells, size)
        for conv in self.convs:
            inside = inside[:, 1:-1, 1:-1]
            # The next convolution sees zeros outside of a map, as it does when run over the map.
            hidden = conv(hidden, padding="VALID") * tf.cast(inside, hidden.dtype)
        batch, number = tf.unstack(tf.shape(indices))
        logits, deltas = self._predict(hidden, batch)
        chosen = tf.range(number) * self.anchors_per_cell + indices % self.anchors_per_cell
        logits, deltas = (tf.gather(part, chosen, batch_dims=1) for part in (logits, deltas))
        return logits, deltas, features

    def _from_maps(self, features, indices):
        logits, deltas = zip(*(self(level) for level in features), strict=True)
        return (
            tf.gather(tf.concat(logits, 1), indices, batch_dims=1),
            tf.gather(tf.concat(deltas, 1), indices, batch_dims=1),
        )

    def _predict(self, hidden, batch):
        logits = tf.reshape(self.objectness(hidden), [batch, -1])
        deltas = tf.reshape(self.deltas(hidden), [batch, -1, 4])
        return logits, deltas

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "anchors_per_cell": self.anchors_per_cell,
            "conv_depth": self.conv_depth,
        }
