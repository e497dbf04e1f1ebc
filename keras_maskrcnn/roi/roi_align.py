"""RoIAlign as a layer (Mask R-CNN, section 3)."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_maskrcnn.ops.roi_align import roi_align


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RoIAlign(keras.layers.Layer):
    """Features of a fixed size for each box, each from its level of the pyramid.

    Args:
        output_size: Bins along each side of the output.
        strides: Pixels per cell of each map, finest first.
        sampling_ratio: Samples a bin in each direction; 0 is ceil(RoI size / output_size).
        aligned: Whether cell centres lie at half pixels (Detectron2) or not (torchvision).
        aggregation: `"average"` or `"max"` of the samples of a bin.
        implementation: `"auto"`, `"compiled"` or `"portable"`; see `ops.roi_align.roi_align`.

    Call arguments:
        features: Maps (B, H_i, W_i, C), finest first.
        boxes: (B, R, 4) xyxy pixels.

    Returns:
        (B, R, output_size, output_size, C), of the features' dtype.

    Example:
        >>> pyramid = [tf.ones((1, 64 // 2**i, 64 // 2**i, 8)) for i in range(4)]
        >>> RoIAlign(7)(pyramid, tf.constant([[[8.0, 8.0, 40.0, 56.0]]])).shape
        TensorShape([1, 1, 7, 7, 8])
    """

    def __init__(
        self,
        output_size: int,
        strides: Sequence[int] = (4, 8, 16, 32),
        sampling_ratio: int = 0,
        aligned: bool = True,
        aggregation: str = "average",
        implementation: str = "auto",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_jit = False  # the number of samples is known only as it runs
        self.autocast = False  # half precision would round coordinates to whole pixels
        self.output_size = output_size
        self.strides = tuple(strides)
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.aggregation = aggregation
        self.implementation = implementation

    def call(self, features: Sequence[tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        return roi_align(
            features,
            boxes,
            self.strides,
            self.output_size,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
            aggregation=self.aggregation,
            implementation=self.implementation,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "strides": self.strides,
            "sampling_ratio": self.sampling_ratio,
            "aligned": self.aligned,
            "aggregation": self.aggregation,
            "implementation": self.implementation,
        }
