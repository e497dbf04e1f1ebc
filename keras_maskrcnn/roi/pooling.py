"""Which layer cuts the features of regions out, as the config says."""

from collections.abc import Sequence

import keras

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.roi.roi_align import RoIAlign, RoIPool


def make_pooling(
    config: MaskRCNNConfig, output_size: int, strides: Sequence[int], dtype: keras.DTypePolicy
) -> RoIAlign | RoIPool:
    """RoIAlign, or RoIPool where `config.roi_transform` says so.

    Args:
        config: Its `roi_*` fields.
        output_size: Bins along each side.
        strides: Pixels per cell of each map, finest first.
        dtype: The layer's policy.
    """
    common = {"implementation": config.roi_implementation, "dtype": dtype}
    if config.roi_transform == "roi_pool":
        return RoIPool(output_size, strides, **common)
    return RoIAlign(
        output_size,
        strides,
        config.roi_sampling_ratio,
        config.roi_aligned,
        config.roi_aggregation,
        **common,
    )
