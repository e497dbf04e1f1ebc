"""The mask branch: a small FCN on each region (Mask R-CNN, section 3 and figure 4)."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_maskrcnn.backbones.conv_norm import EPSILON
from keras_maskrcnn.backbones.resnet import he_fan_out
from keras_maskrcnn.backbones.sequential import build_sequential, run_sequential
from keras_maskrcnn.roi.conv_tower import conv_tower


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class MaskHead(keras.layers.Layer):
    """3x3 convolutions, a transposed convolution, and a predictor with a channel a class.

    Where classes do not compete, only the channel of one class of each region is ever needed: the
    true class for the loss, the detected one at inference. So only that one is computed.

    Args:
        num_classes: Channels of the predictor: object classes, and with a softmax the background;
            1 where all classes share a mask.
        channels: Channels of the 3x3 convolutions.
        deconv_channels: Channels of the transposed convolution.
        norm: See `ConvNorm`; of the 3x3 convolutions.
        epsilon: See `ConvNorm`.

    Call arguments:
        features: (B, R, m, m, C) of each region.
        class_ids: (B, R) int32, the class of each region; below 0 counts as class 0. None for the
            channels of all classes.
        training: Whether batch norms that train use the statistics of the batch.

    Returns:
        Mask logits (B, R, 2m, 2m) float32 of that class, or (B, R, 2m, 2m, num_classes) of all.
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
        self.convs = conv_tower(self.channels, norm, epsilon, self.dtype_policy)
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
        channels = build_sequential(self.convs, input_shape[-1])
        self.deconv.build((None, None, None, channels))
        self.predictor_kernel = self.add_weight(
            name="predictor_kernel",
            shape=(self.num_classes, self.deconv_channels),
            initializer=keras.initializers.RandomNormal(stddev=0.001),
        )
        self.predictor_bias = self.add_weight(
            name="predictor_bias", shape=(self.num_classes,), initializer="zeros"
        )

    def call(self, features, class_ids=None, training=False):
        batch, regions = tf.shape(features)[0], tf.shape(features)[1]
        hidden = tf.reshape(features, [-1, *features.shape[2:]])
        hidden = run_sequential(self.convs, hidden, training)
        hidden = self.deconv(hidden)
        logits = self._all(hidden) if class_ids is None else self._of_class(hidden, class_ids)
        return tf.cast(tf.reshape(logits, [batch, regions, *logits.shape[1:]]), tf.float32)

    def _all(self, hidden):
        logits = tf.einsum("nhwc,kc->nhwk", hidden, self.predictor_kernel)
        return logits + tf.convert_to_tensor(self.predictor_bias)

    def _of_class(self, hidden, class_ids):
        class_ids = tf.maximum(tf.reshape(class_ids, [-1]), 0)
        # Not tf.gather: its gradient is a list of slices, one a region, of which Keras' Adam takes
        # the squares before it sums those of a class; the predictor then moves far too fast.
        of_class = tf.one_hot(class_ids, self.num_classes, dtype=self.compute_dtype)
        logits = tf.einsum("nhwc,nc->nhw", hidden, tf.matmul(of_class, self.predictor_kernel))
        return logits + tf.linalg.matvec(of_class, self.predictor_bias)[:, None, None]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "channels": self.channels,
            "deconv_channels": self.deconv_channels,
            "norm": self.norm_name,
            "epsilon": self.epsilon,
        }


def mask_probabilities(logits: tf.Tensor, class_ids: tf.Tensor, loss: str = "sigmoid") -> tf.Tensor:
    """How probably each cell belongs to the region's object.

    Args:
        logits: (B, R, m, m) of the class of each region; for `"softmax"` (B, R, m, m, K + 1).
        class_ids: (B, R) int32; below 0 counts as class 0.
        loss: `config.mask_loss`, `"sigmoid"` or `"softmax"`.

    Returns:
        (B, R, m, m), 0..1.

    Example:
        >>> mask_probabilities(tf.zeros((1, 1, 2, 2, 4)), tf.constant([[2]]), "softmax")[0, 0, 0, 0]
        <tf.Tensor: shape=(), dtype=float32, numpy=0.25>
    """
    if loss == "sigmoid":
        return tf.sigmoid(logits)
    of_class = tf.one_hot(tf.maximum(class_ids, 0), logits.shape[-1])
    return tf.einsum("brhwk,brk->brhw", tf.nn.softmax(logits), of_class)
