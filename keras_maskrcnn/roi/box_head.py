"""The box branch: class scores and box deltas of each region (Fast R-CNN; FPN, 4.2)."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_maskrcnn.backbones.conv_norm import EPSILON
from keras_maskrcnn.backbones.sequential import build_sequential, run_sequential
from keras_maskrcnn.roi.conv_tower import conv_tower


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class BoxHead(keras.layers.Layer):
    """3x3 convolutions and fully connected layers, if any, then a class and a box predictor.

    Without fully connected layers, the mean over the region goes to the predictors (C4).

    Args:
        num_classes: Object classes, background not counted.
        units: Widths of the fully connected layers.
        channels: Channels of the 3x3 convolutions before them.
        norm: See `ConvNorm`; of the convolutions.
        epsilon: See `ConvNorm`.

    Call arguments:
        features: (B, R, h, w, C) of each region.
        training: Whether batch norms that train use the statistics of the batch.

    Returns:
        class logits (B, R, num_classes + 1), background last, and box deltas
        (B, R, num_classes, 4), both float32.
    """

    def __init__(
        self,
        num_classes: int,
        units: Sequence[int] = (1024, 1024),
        channels: Sequence[int] = (),
        norm: str | None = None,
        epsilon: float = EPSILON,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.units = tuple(units)
        self.channels = tuple(channels)
        self.norm_name = norm
        self.epsilon = epsilon
        self.convs = conv_tower(self.channels, norm, epsilon, self.dtype_policy)
        self.fully_connected = [
            keras.layers.Dense(
                width,
                activation="relu",
                kernel_initializer="lecun_uniform",
                dtype=self.dtype_policy,
                name=f"fc{i}",
            )
            for i, width in enumerate(self.units, start=1)
        ]
        self.classes = self._predictor(num_classes + 1, 0.01, "classes")
        self.deltas = self._predictor(4 * num_classes, 0.001, "deltas")

    def _predictor(self, units, stddev, name):
        return keras.layers.Dense(
            units,
            kernel_initializer=keras.initializers.RandomNormal(stddev=stddev),
            dtype="float32",  # half precision has few distinct scores and deltas
            name=name,
        )

    def build(self, input_shape):
        *_, height, width, channels = input_shape
        channels = build_sequential(self.convs, channels)
        inputs = height * width * channels if self.units else channels
        for layer in self.fully_connected:
            layer.build((None, inputs))
            inputs = layer.units
        self.classes.build((None, inputs))
        self.deltas.build((None, inputs))

    def call(self, features, training=False):
        batch, regions = tf.shape(features)[0], tf.shape(features)[1]
        hidden = tf.reshape(features, [-1, *features.shape[2:]])
        hidden = run_sequential(self.convs, hidden, training)
        if self.units:
            hidden = tf.reshape(hidden, [-1, math.prod(hidden.shape[1:])])
        else:
            hidden = tf.reduce_mean(hidden, axis=[1, 2])
        for layer in self.fully_connected:
            hidden = layer(hidden)
        logits = tf.reshape(self.classes(hidden), [batch, regions, self.num_classes + 1])
        deltas = tf.reshape(self.deltas(hidden), [batch, regions, self.num_classes, 4])
        return logits, deltas

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "units": self.units,
            "channels": self.channels,
            "norm": self.norm_name,
            "epsilon": self.epsilon,
        }
