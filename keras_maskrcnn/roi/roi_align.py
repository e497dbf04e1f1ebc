"""RoIAlign (Mask R-CNN, section 3) and RoIPool (Fast R-CNN, 2.1) as layers."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from keras_maskrcnn.ops.roi_align import roi_align, roi_pool


class _RoIPooling(keras.layers.Layer):
    """What both layers know: where the maps lie, and how large the regions come out."""

    def __init__(
        self,
        output_size: int,
        strides: Sequence[int] = (4, 8, 16, 32),
        implementation: str = "auto",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_jit = False  # the number of samples is known only as it runs
        self.autocast = False  # half precision would round coordinates to whole pixels
        self.output_size = output_size
        self.strides = tuple(strides)
        self.implementation = implementation

    def get_config(self):
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "strides": self.strides,
            "implementation": self.implementation,
        }


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RoIAlign(_RoIPooling):
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
        super().__init__(output_size, strides, implementation, **kwargs)
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.aggregation = aggregation

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
            "sampling_ratio": self.sampling_ratio,
            "aligned": self.aligned,
            "aggregation": self.aggregation,
        }


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RoIPool(_RoIPooling):
    """The largest cell of each bin of each box, boxes and bins rounded to whole cells.

    The paper's point of comparison. Arguments, call arguments and output are those of `RoIAlign`,
    without `sampling_ratio`, `aligned` and `aggregation`.

    Example:
        >>> pyramid = [tf.ones((1, 64 // 2**i, 64 // 2**i, 8)) for i in range(4)]
        >>> RoIPool(7)(pyramid, tf.constant([[[8.0, 8.0, 40.0, 56.0]]])).shape
        TensorShape([1, 1, 7, 7, 8])
    """

    def call(self, features: Sequence[tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        return roi_pool(features, boxes, self.strides, self.output_size, self.implementation)
