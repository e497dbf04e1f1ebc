"""RoIPool as a layer (Fast R-CNN, section 2.1), the paper's point of comparison."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_maskrcnn.ops.roi_align import roi_pool


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RoIPool(keras.layers.Layer):
    """The largest cell of each bin of each box, boxes and bins rounded to whole cells.

    Args:
        output_size: Bins along each side of the output.
        strides: Pixels per cell of each map, finest first.
        implementation: `"auto"`, `"compiled"` or `"portable"`; see `ops.roi_align.roi_pool`.

    Call arguments:
        features: Maps (B, H_i, W_i, C), finest first.
        boxes: (B, R, 4) xyxy pixels.

    Returns:
        (B, R, output_size, output_size, C), of the features' dtype.

    Example:
        >>> pyramid = [tf.ones((1, 64 // 2**i, 64 // 2**i, 8)) for i in range(4)]
        >>> RoIPool(7)(pyramid, tf.constant([[[8.0, 8.0, 40.0, 56.0]]])).shape
        TensorShape([1, 1, 7, 7, 8])
    """

    def __init__(
        self,
        output_size: int,
        strides: Sequence[int] = (4, 8, 16, 32),
        implementation: str = "auto",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_jit = False  # the number of cells is known only as it runs
        self.autocast = False  # half precision would round coordinates to whole pixels
        self.output_size = output_size
        self.strides = tuple(strides)
        self.implementation = implementation

    def call(self, features: Sequence[tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        return roi_pool(features, boxes, self.strides, self.output_size, self.implementation)

    def get_config(self):
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "strides": self.strides,
            "implementation": self.implementation,
        }
