"""The 3x3 convolutions that the heads of the regions begin with."""

from collections.abc import Sequence

import keras

from keras_maskrcnn.backbones.conv_norm import ConvNorm
from keras_maskrcnn.backbones.resnet import he_fan_out


def conv_tower(
    channels: Sequence[int], norm: str | None, epsilon: float, dtype: keras.DTypePolicy
) -> list[ConvNorm]:
    """3x3 convolutions with rectifiers, named `conv1`, `conv2` and so on.

    Args:
        channels: Of the output of each.
        norm: See `ConvNorm`.
        epsilon: See `ConvNorm`.
        dtype: The policy of the head that they belong to.

    Example:
        >>> [conv.name for conv in conv_tower((8, 8), None, 1e-5, keras.DTypePolicy("float32"))]
        ['conv1', 'conv2']
    """
    return [
        ConvNorm(
            width,
            3,
            norm=norm,
            epsilon=epsilon,
            activation="relu",
            kernel_initializer=he_fan_out(),
            dtype=dtype,
            name=f"conv{i}",
        )
        for i, width in enumerate(channels, start=1)
    ]
