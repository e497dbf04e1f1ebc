"""The Feature Pyramid Network (Lin et al. 2017)."""

import keras
import tensorflow as tf

from keras_maskrcnn.backbones.conv_norm import EPSILON, ConvNorm

STAGES = ("res2", "res3", "res4", "res5")


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class FPN(keras.layers.Layer):
    """Levels p2 to p5 of equal width from the stages of a backbone, and p6 for the RPN.

    Args:
        channels: Channels of every level.
        norm: See `ConvNorm`; None in the paper.
        epsilon: See `ConvNorm`.

    Call arguments:
        features: `{"res2": (B, H/4, W/4, C2), ..., "res5": (B, H/32, W/32, C5)}`; H and W are
            multiples of 32.

    Returns:
        `{"p2": (B, H/4, W/4, channels), ..., "p6": ...}`; p6 is p5 at stride 2.
    """

    def __init__(
        self, channels: int = 256, norm: str | None = None, epsilon: float = EPSILON, **kwargs
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.norm_name = norm
        self.epsilon = epsilon
        common = {
            "norm": norm,
            "epsilon": epsilon,
            "kernel_initializer": "lecun_uniform",
            "dtype": self.dtype_policy,
        }
        self.lateral = [ConvNorm(channels, 1, name=f"lateral{i}", **common) for i in range(2, 6)]
        self.output_convs = [
            ConvNorm(channels, 3, name=f"output{i}", **common) for i in range(2, 6)
        ]

    def build(self, input_shape):
        for stage, lateral, output in zip(STAGES, self.lateral, self.output_convs, strict=True):
            lateral.build(input_shape[stage])
            output.build((None, None, None, self.channels))

    def call(self, features, training=False):
        laterals = [
            lateral(features[stage], training=training)
            for stage, lateral in zip(STAGES, self.lateral, strict=True)
        ]
        merged = [laterals[-1]]
        for finer in reversed(laterals[:-1]):
            merged.insert(0, finer + _double(merged[0]))
        levels = [
            output(level, training=training)
            for output, level in zip(self.output_convs, merged, strict=True)
        ]
        pyramid = {f"p{i}": level for i, level in enumerate(levels, start=2)}
        pyramid["p6"] = levels[-1][:, ::2, ::2]
        return pyramid

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "norm": self.norm_name,
            "epsilon": self.epsilon,
        }


def _double(features):
    """Each cell as a square of 2x2 cells."""
    return tf.repeat(tf.repeat(features, 2, axis=1), 2, axis=2)
