"""The mask branch: a small FCN on each region (Mask R-CNN, section 3 and figure 4)."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_maskrcnn.backbones.conv_norm import EPSILON, ConvNorm
from keras_maskrcnn.backbones.resnet import he_fan_out


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class MaskHead(keras.layers.Layer):
    """3x3 convolutions, a transposed convolution, and a predictor with a channel a class.

    Only the channel of one class of each region is ever needed: the true class for the loss, the
    detected one at inference. So only that one is computed.

    Args:
        num_classes: Object classes.
        channels: Channels of the 3x3 convolutions.
        deconv_channels: Channels of the transposed convolution.
        norm: See `ConvNorm`; of the 3x3 convolutions.
        epsilon: See `ConvNorm`.

    Call arguments:
        features: (B, R, m, m, C) of each region.
        class_ids: (B, R) int32, the class of each region; below 0 counts as class 0.
        training: Whether batch norms that train use the statistics of the batch.

    Returns:
        Mask logits (B, R, 2m, 2m) float32 of that class.
    """

    def __init__(
        self,
        num_classes: int,
        channels: Sequence[int] = (256, 256, 256, 256),
        deconv_channels: int = 256,
        norm: str | None = None,
        epsilon: float = EPSILON,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.channels = tuple(channels)
        self.deconv_channels = deconv_channels
        self.norm_name = norm
        self.epsilon = epsilon
        self.convs = [
            ConvNorm(
                width,
                3,
                norm=norm,
                epsilon=epsilon,
                activation="relu",
                kernel_initializer=he_fan_out(),
                dtype=self.dtype_policy,
                name=f"conv{i}",
            )
            for i, width in enumerate(self.channels, start=1)
        ]
        self.deconv = keras.layers.Conv2DTranspose(
            deconv_channels,
            2,
            strides=2,
            activation="relu",
            kernel_initializer=he_fan_out(),
            dtype=self.dtype_policy,
            name="deconv",
        )

    def build(self, input_shape):
        channels = input_shape[-1]
        for conv in self.convs:
            conv.build((None, None, None, channels))
            channels = conv.filters
        self.deconv.build((None, None, None, channels))
        self.predictor_kernel = self.add_weight(
            name="predictor_kernel",
            shape=(self.num_classes, self.deconv_channels),
            initializer=keras.initializers.RandomNormal(stddev=0.001),
        )
        self.predictor_bias = self.add_weight(
            name="predictor_bias", shape=(self.num_classes,), initializer="zeros"
        )

    def call(self, features, class_ids, training=False):
        batch, regions = tf.shape(features)[0], tf.shape(features)[1]
        hidden = tf.reshape(features, [-1, *features.shape[2:]])
        for conv in self.convs:
            hidden = conv(hidden, training=training)
        hidden = self.deconv(hidden)
        class_ids = tf.maximum(tf.reshape(class_ids, [-1]), 0)
        # Not tf.gather: its gradient is a list of slices, one a region, of which Keras' Adam takes
        # the squares before it sums those of a class; the predictor then moves far too fast.
        of_class = tf.one_hot(class_ids, self.num_classes, dtype=self.compute_dtype)
        logits = tf.einsum("nhwc,nc->nhw", hidden, tf.matmul(of_class, self.predictor_kernel))
        logits += tf.linalg.matvec(of_class, self.predictor_bias)[:, None, None]
        size = 2 * features.shape[2]
        return tf.cast(tf.reshape(logits, [batch, regions, size, size]), tf.float32)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "channels": self.channels,
            "deconv_channels": self.deconv_channels,
            "norm": self.norm_name,
            "epsilon": self.epsilon,
        }
