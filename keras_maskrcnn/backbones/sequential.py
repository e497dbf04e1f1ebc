"""Layers that run one after the other, each on what the one before gives.

They stay in a plain list of the layer that owns them: `keras.Sequential` would lie between the two
in the names of saved weights.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf


def build_sequential(layers: Sequence[keras.layers.Layer], channels: int) -> int:
    """Builds layers on maps of `channels`, each for the `filters` of the one before.

    Returns the channels of what the last one gives.
    """
    for layer in layers:
        layer.build((None, None, None, channels))
        channels = layer.filters
    return channels


def run_sequential(
    layers: Sequence[keras.layers.Layer], inputs: tf.Tensor, training: bool = False
) -> tf.Tensor:
    """The output of the last layer; without layers, the inputs."""
    for layer in layers:
        inputs = layer(inputs, training=training)
    return inputs
