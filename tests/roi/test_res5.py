"""Stage 5 as a head: the blocks of the backbone on each region."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.backbones import ResNet
from keras_maskrcnn.roi import Res5


def random_regions(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("architecture", "width"), [("resnet26", 8), ("resnext50_32x4d", 32)])
def test_is_stage_5_of_the_backbone(architecture, width):
    regions = random_regions(2, 3, 14, 14, 16 * width)
    head = Res5(architecture, width)
    outputs = head(regions)
    assert outputs.shape == (2, 3, 7, 7, 32 * width) == head.compute_output_shape(regions.shape)
    backbone = ResNet(architecture, width)
    backbone.build((None, None, None, 3))
    for ours, theirs in zip(head.blocks, backbone.stages[3], strict=True):
        theirs.set_weights(ours.get_weights())
    expected = regions.reshape(6, 14, 14, -1)
    for block in backbone.stages[3]:
        expected = block(expected)
    np.testing.assert_allclose(outputs, np.reshape(expected, outputs.shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [7, 1])
def test_odd_sizes(size):
    head = Res5("resnet14", 8)
    half = (size + 1) // 2
    assert head(random_regions(1, 2, size, size, 128)).shape == (1, 2, half, half, 256)


def test_mixed_precision_computes_in_half():
    assert (
        Res5("resnet14", 8, dtype="mixed_bfloat16")(tf.zeros((1, 1, 4, 4, 128))).dtype == "bfloat16"
    )


def test_config_round_trip():
    head = Res5("resnet14", 32, stride_in_1x1=False, norm="group_norm", epsilon=1e-3, name="head")
    copy = Res5.from_config(head.get_config())
    assert copy.get_config() == head.get_config()
    regions = random_regions(1, 2, 4, 4, 512)
    expected = head(regions)
    copy(regions)
    copy.set_weights(head.get_weights())
    np.testing.assert_array_equal(copy(regions), expected)
