"""The head of the region proposal network (Faster R-CNN, 3.1)."""

import keras
import tensorflow as tf

from keras_maskrcnn.backbones.conv_norm import ConvNorm


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
        hidden = features
        for conv in self.convs:
            hidden = conv(hidden)
        batch = tf.shape(features)[0]
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
