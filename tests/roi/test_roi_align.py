"""The RoIAlign layer: the op of the same name with its settings kept."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.ops.roi_align import roi_align
from keras_maskrcnn.roi import RoIAlign

BOXES = np.array([[[4.3, 6.1, 30.7, 41.9], [0.0, 0.0, 64.0, 48.0]]], np.float32)


def random_pyramid(factor=1):
    rng = np.random.default_rng(0)
    sides = [(12, 16), (6, 8), (3, 4), (2, 2)]
    return [rng.normal(size=(1, h * factor, w * factor, 3)).astype(np.float32) for h, w in sides]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sampling_ratio": 2, "aligned": False},
        {"aggregation": "max"},
    ],
)
def test_is_the_op_with_its_settings(settings):
    pyramid = random_pyramid()
    expected = roi_align(pyramid, BOXES, (4, 8, 16, 32), 7, **{"sampling_ratio": 0, **settings})
    np.testing.assert_array_equal(RoIAlign(7, **settings)(pyramid, BOXES), expected)


def test_one_map_serves_boxes_of_any_size():
    pyramid = random_pyramid()[:1]
    expected = roi_align(pyramid, BOXES, (4,), 7, 0)
    np.testing.assert_array_equal(RoIAlign(7, strides=[4])(pyramid, BOXES), expected)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_does_not_round_coordinates(dtype):
    pyramid = [tf.cast(level, dtype.removeprefix("mixed_")) for level in random_pyramid(factor=20)]
    boxes = np.array([[[801.25, 603.5, 901.75, 703.25]]], np.float32)
    pooled = RoIAlign(7, dtype=dtype)(pyramid, boxes)
    assert pooled.dtype == pyramid[0].dtype
    expected = roi_align(
        [tf.cast(level, tf.float32) for level in pyramid], boxes, (4, 8, 16, 32), 7, 0
    )
    np.testing.assert_allclose(tf.cast(pooled, tf.float32), expected, atol=0.01)


def test_config_round_trip():
    layer = RoIAlign(
        7, strides=(8, 16), sampling_ratio=2, aligned=False, aggregation="max", name="pool"
    )
    copy = RoIAlign.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    pyramid = random_pyramid()[:2]
    np.testing.assert_array_equal(copy(pyramid, BOXES), layer(pyramid, BOXES))
