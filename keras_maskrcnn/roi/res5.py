"""Stage 5 of the backbone as the head of the regions (Faster R-CNN with ResNet; C4)."""

import keras
import tensorflow as tf

from keras_maskrcnn.backbones.conv_norm import EPSILON
from keras_maskrcnn.backbones.resnet import make_stage
from keras_maskrcnn.backbones.sequential import build_sequential, run_sequential


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class Res5(keras.layers.Layer):
    """Stage 5 of a ResNet or ResNeXt on each region; box and mask branch of C4 share it.

    Mask R-CNN, figure 4 (left).

    Args:
        architecture: See `ResNet`.
        width: Channels of the backbone's stem.
        stride_in_1x1: See `ResNet`.
        norm: See `ConvNorm`.
        epsilon: See `ConvNorm`.

    Call arguments:
        regions: (B, R, h, w, 16 * width) cut out of stage 4.
        training: Whether batch norms that train use the statistics of the batch.

    Returns:
        (B, R, h / 2, w / 2, 32 * width), halves rounded up.

    Example:
        >>> Res5("resnet14", width=8)(tf.zeros((1, 5, 14, 14, 128))).shape
        TensorShape([1, 5, 7, 7, 256])
    """

    def __init__(
        self,
        architecture: str = "resnet50",
        width: int = 64,
        stride_in_1x1: bool = True,
        norm: str = "frozen_batch_norm",
        epsilon: float = EPSILON,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.architecture = architecture
        self.width = width
        self.stride_in_1x1 = stride_in_1x1
        self.norm_name = norm
        self.epsilon = epsilon
        self.blocks = make_stage(
            5, architecture, width, stride_in_1x1, norm, epsilon, self.dtype_policy
        )

    def build(self, input_shape):
        build_sequential(self.blocks, input_shape[-1])

    def call(self, regions, training=False):
        batch, number = tf.shape(regions)[0], tf.shape(regions)[1]
        outputs = tf.reshape(regions, [-1, *regions.shape[2:]])
        outputs = run_sequential(self.blocks, outputs, training)
        return tf.reshape(outputs, [batch, number, *outputs.shape[1:]])

    def compute_output_shape(self, input_shape):
        batch, number, *shape = input_shape
        for block in self.blocks:
            shape = block.compute_output_shape((None, *shape))[1:]
        return (batch, number, *shape)

    def get_config(self):
        return {
            **super().get_config(),
            "architecture": self.architecture,
            "width": self.width,
            "stride_in_1x1": self.stride_in_1x1,
            "norm": self.norm_name,
            "epsilon": self.epsilon,
        }
