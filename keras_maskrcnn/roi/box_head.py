"""The box branch: class scores and box deltas of each region (Fast R-CNN; FPN, 4.2)."""

from collections.abc import Sequence

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class BoxHead(keras.layers.Layer):
    """Fully connected layers, then a class and a box predictor.

    Args:
        num_classes: Object classes, background not counted.
        units: Widths of the fully connected layers.

    Call arguments:
        features: (B, R, h, w, C) of each region.

    Returns:
        class logits (B, R, num_classes + 1), background last, and box deltas
        (B, R, num_classes, 4), both float32.
    """

    def __init__(self, num_classes: int, units: Sequence[int] = (1024, 1024), **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.units = tuple(units)
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
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, input_shape):
        *_, height, width, channels = input_shape
        inputs = height * width * channels
        for layer in self.fully_connected:
            layer.build((None, inputs))
            inputs = layer.units
        self.classes.build((None, inputs))
        self.deltas.build((None, inputs))

    def call(self, features):
        batch, regions = tf.shape(features)[0], tf.shape(features)[1]
        inputs = features.shape[2] * features.shape[3] * features.shape[4]
        hidden = tf.reshape(features, [-1, inputs])
        for layer in self.fully_connected:
            hidden = layer(hidden)
        logits = tf.reshape(self.classes(hidden), [batch, regions, self.num_classes + 1])
        deltas = tf.reshape(self.deltas(hidden), [batch, regions, self.num_classes, 4])
        return tf.cast(logits, tf.float32), tf.cast(deltas, tf.float32)

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes, "units": self.units}
