"""ResNet and ResNeXt, bottleneck blocks only (He et al. 2015; Xie et al. 2016)."""

import itertools
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_maskrcnn.backbones.conv_norm import EPSILON, ConvNorm
from keras_maskrcnn.backbones.sequential import build_sequential, run_sequential


def he_fan_out() -> keras.initializers.Initializer:
    """As Detectron2 and torchvision start convolutions that a rectifier follows.

    A new one for each layer: an initializer gives the same values each time it is called.
    """
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


class _Architecture(NamedTuple):
    blocks: tuple[int, int, int, int]
    groups: int = 1
    width_factor: int = 1  # width of a bottleneck against that of ResNet


ARCHITECTURES = {
    "resnet14": _Architecture((1, 1, 1, 1)),
    "resnet26": _Architecture((2, 2, 2, 2)),
    "resnet50": _Architecture((3, 4, 6, 3)),
    "resnet101": _Architecture((3, 4, 23, 3)),
    "resnext50_32x4d": _Architecture((3, 4, 6, 3), groups=32, width_factor=2),
    "resnext101_32x8d": _Architecture((3, 4, 23, 3), groups=32, width_factor=4),
}


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class Bottleneck(keras.layers.Layer):
    """1x1, 3x3 and 1x1 convolution beside a shortcut.

    Args:
        filters: Channels of the output.
        bottleneck_filters: Channels of the first two convolutions.
        strides: Stride of the block.
        projection: Whether the shortcut is a 1x1 convolution; needed where the shape changes.
        groups: Groups of the 3x3 convolution.
        stride_in_1x1: Whether the first convolution strides, or the 3x3 one.
        norm: See `ConvNorm`.
        epsilon: See `ConvNorm`.
    """

    def __init__(
        self,
        filters: int,
        bottleneck_filters: int,
        strides: int = 1,
        projection: bool = False,
        groups: int = 1,
        stride_in_1x1: bool = True,
        norm: str = "frozen_batch_norm",
        epsilon: float = EPSILON,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.bottleneck_filters = bottleneck_filters
        self.strides = strides
        self.projection = projection
        self.groups = groups
        self.stride_in_1x1 = stride_in_1x1
        self.norm_name = norm
        self.epsilon = epsilon
        first, second = (strides, 1) if stride_in_1x1 else (1, strides)
        width = bottleneck_filters
        self.conv1 = self._conv(width, 1, first, activation="relu", name="conv1")
        self.conv2 = self._conv(width, 3, second, groups=groups, activation="relu", name="conv2")
        self.conv3 = self._conv(filters, 1, name="conv3")
        self.shortcut = None
        if projection:
            self.shortcut = self._conv(filters, 1, strides, name="shortcut")

    def _conv(self, *args, **kwargs):
        return ConvNorm(
            *args,
            norm=self.norm_name,
            epsilon=self.epsilon,
            kernel_initializer=he_fan_out(),
            dtype=self.dtype_policy,
            **kwargs,
        )

    def build(self, input_shape):
        self.conv1.build(input_shape)
        self.conv2.build((None, None, None, self.bottleneck_filters))
        self.conv3.build((None, None, None, self.bottleneck_filters))
        if self.shortcut is not None:
            self.shortcut.build(input_shape)

    def call(self, inputs, training=False):
        outputs = self.conv1(inputs, training=training)
        outputs = self.conv2(outputs, training=training)
        outputs = self.conv3(outputs, training=training)
        if self.shortcut is not None:
            inputs = self.shortcut(inputs, training=training)
        return tf.nn.relu(outputs + inputs)

    def compute_output_shape(self, input_shape):
        for conv in (self.conv1, self.conv2, self.conv3):
            input_shape = conv.compute_output_shape(input_shape)
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "bottleneck_filters": self.bottleneck_filters,
            "strides": self.strides,
            "projection": self.projection,
            "groups": self.groups,
            "stride_in_1x1": self.stride_in_1x1,
            "norm": self.norm_name,
            "epsilon": self.epsilon,
        }


def make_stage(
    stage: int,
    architecture: str,
    width: int,
    stride_in_1x1: bool,
    norm: str,
    epsilon: float,
    dtype=None,
) -> list[Bottleneck]:
    """The blocks of stage 2, 3, 4 or 5; its output has `width * 2**stage` channels.

    Args:
        stage: Which; all but stage 2 halve height and width.
        architecture: A name of `ARCHITECTURES`.
        width: Channels of the stem.
        stride_in_1x1: See `Bottleneck`.
        norm: See `ConvNorm`.
        epsilon: See `ConvNorm`.
        dtype: Keras dtype policy.

    Raises:
        ValueError: An unknown architecture.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"Unknown architecture {architecture!r}; there are {', '.join(ARCHITECTURES)}."
        )
    blocks, groups, width_factor = ARCHITECTURES[architecture]
    return [
        Bottleneck(
            width * 2**stage,
            width * width_factor * 2 ** (stage - 2),
            strides=2 if block == 0 and stage > 2 else 1,
            projection=block == 0,
            groups=groups,
            stride_in_1x1=stride_in_1x1,
            norm=norm,
            epsilon=epsilon,
            dtype=dtype,
            name=f"res{stage}_{block}",
        )
        for block in range(blocks[stage - 2])
    ]


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class ResNet(keras.layers.Layer):
    """The stages of a ResNet or ResNeXt behind its stem.

    Args:
        architecture: A name of `ARCHITECTURES`.
        width: Channels of the stem; stage i has `width * 2**i` output channels. 64 in the paper.
        stride_in_1x1: Whether a block strides in its first convolution or in the 3x3 one.
        norm: See `ConvNorm`.
        epsilon: See `ConvNorm`.
        freeze_at: How many parts never train: 1 the stem, 2 the stem and stage 2, and so on.
        last_stage: 5, or 4 where stage 5 is the head of the regions (C4).

    Call arguments:
        inputs: (B, H, W, C) normalised pixels; 3 channels of the published weights.

    Returns:
        `{"res2": ..., "res3": ..., "res4": ..., "res5": ...}` at strides 4, 8, 16 and 32, up to
        the last stage.

    Example:
        >>> features = ResNet("resnet14", width=16)(tf.zeros((1, 64, 64, 3)))
        >>> features["res4"].shape
        TensorShape([1, 4, 4, 256])
    """

    def __init__(
        self,
        architecture: str = "resnet50",
        width: int = 64,
        stride_in_1x1: bool = True,
        norm: str = "frozen_batch_norm",
        epsilon: float = EPSILON,
        freeze_at: int = 0,
        last_stage: int = 5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.architecture = architecture
        self.width = width
        self.stride_in_1x1 = stride_in_1x1
        self.norm_name = norm
        self.epsilon = epsilon
        self.freeze_at = freeze_at
        self.last_stage = last_stage
        self.stem = ConvNorm(
            width,
            7,
            strides=2,
            norm=norm,
            epsilon=epsilon,
            activation="relu",
            kernel_initializer=he_fan_out(),
            dtype=self.dtype_policy,
            name="stem",
        )
        stages = [
            make_stage(stage, architecture, width, stride_in_1x1, norm, epsilon, self.dtype_policy)
            for stage in range(2, last_stage + 1)
        ]
        # In one list: Keras before 3.15 does not save layers in lists of lists.
        self.blocks = sum(stages, [])
        parts = [[self.stem], *stages]
        for layer in sum(parts[:freeze_at], []):
            layer.trainable = False

    @property
    def stages(self) -> list[list[Bottleneck]]:
        """The blocks of each stage, stage 2 first."""
        blocks, counts = iter(self.blocks), ARCHITECTURES[self.architecture].blocks
        return [list(itertools.islice(blocks, count)) for count in counts[: self.last_stage - 1]]

    def stage_channels(self, stage: int) -> int:
        """Channels of the output of stage 2, 3, 4 or 5."""
        return self.width * 2**stage

    def build(self, input_shape):
        self.stem.build(input_shape)
        build_sequential(self.blocks, self.width)

    def call(self, inputs, training=False):
        outputs = self.stem(inputs, training=training)
        # Pixels behind a rectifier are never below the zeros that pad them.
        outputs = tf.pad(outputs, [[0, 0], [1, 1], [1, 1], [0, 0]])
        outputs = tf.nn.max_pool2d(outputs, 3, 2, "VALID")
        features = {}
        for stage, blocks in enumerate(self.stages, start=2):
            outputs = run_sequential(blocks, outputs, training)
            features[f"res{stage}"] = outputs
        return features

    def get_config(self):
        return {
            **super().get_config(),
            "architecture": self.architecture,
            "width": self.width,
            "stride_in_1x1": self.stride_in_1x1,
            "norm": self.norm_name,
            "epsilon": self.epsilon,
            "freeze_at": self.freeze_at,
            "last_stage": self.last_stage,
        }
