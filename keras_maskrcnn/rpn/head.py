"""The head of the region proposal network (Faster R-CNN, 3.1)."""

import keras
import tensorflow as tf

from keras_maskrcnn.backbones.conv_norm import ConvNorm


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RPNHead(keras.layers.Layer):
    """Objectness and box deltas of every anchor of a feature map; shared by all levels.

    Args:
        channels: Channels of the features and of the 3x3 convolution.
        anchors_per_cell: Anchors at each cell.

    Call arguments:
        features: (B, H, W, channels).

    Returns:
        logits (B, H * W * A) and deltas (B, H * W * A, 4), both float32, in the order of
        `make_anchors`.
    """

    def __init__(self, channels: int = 256, anchors_per_cell: int = 3, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.anchors_per_cell = anchors_per_cell
        self.conv = self._conv(channels, 3, activation="relu", name="conv")
        self.objectness = self._conv(anchors_per_cell, 1, name="objectness")
        self.deltas = self._conv(4 * anchors_per_cell, 1, name="deltas")

    def _conv(self, *args, **kwargs):
        normal = keras.initializers.RandomNormal(stddev=0.01)
        return ConvNorm(*args, kernel_initializer=normal, dtype=self.dtype_policy, **kwargs)

    def build(self, input_shape):
        self.conv.build(input_shape)
        for predictor in (self.objectness, self.deltas):
            predictor.build((None, None, None, self.channels))

    def call(self, features):
        hidden = self.conv(features)
        batch = tf.shape(features)[0]
        logits = tf.reshape(self.objectness(hidden), [batch, -1])
        deltas = tf.reshape(self.deltas(hidden), [batch, -1, 4])
        return tf.cast(logits, tf.float32), tf.cast(deltas, tf.float32)

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "anchors_per_cell": self.anchors_per_cell,
        }
