"""The shapes of ResNet and ResNeXt, where they stride, and what of them trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.backbones import ResNet
from keras_maskrcnn.backbones.resnet import ARCHITECTURES, Bottleneck

# Weights of torchvision's classifiers without their last layer (2048 * 1000 + 1000).
PARAMETERS = {"resnet50": 23_508_032, "resnet101": 42_500_160}
PARAMETERS |= {"resnext50_32x4d": 22_979_904, "resnext101_32x8d": 86_742_336}
STAGES = ("res2", "res3", "res4", "res5")


def random_pixels(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def width_of(architecture):
    return 32 if architecture.startswith("resnext") else 8


@pytest.mark.parametrize("architecture", ["resnet14", "resnet26", "resnext50_32x4d"])
@pytest.mark.parametrize("stride_in_1x1", [True, False])
def test_stages_have_strides_4_to_32_and_double_channels(architecture, stride_in_1x1):
    width = width_of(architecture)
    backbone = ResNet(architecture, width=width, stride_in_1x1=stride_in_1x1)
    features = backbone(random_pixels(2, 64, 96, 3))
    assert {stage: tuple(values.shape) for stage, values in features.items()} == {
        stage: (2, 64 // stride, 96 // stride, width * stride)
        for stage, stride in zip(STAGES, (4, 8, 16, 32), strict=True)
    }


@pytest.mark.parametrize("architecture", sorted(PARAMETERS))
def test_counts_of_parameters_are_the_published_ones(architecture):
    with keras.StatelessScope(initialize_variables=False):
        backbone = ResNet(architecture, norm="batch_norm")
        backbone.build((None, None, None, 3))
    trainable = [weight for weight in backbone.weights if "moving" not in weight.name]
    assert sum(np.prod(weight.shape) for weight in trainable) == PARAMETERS[architecture]


def test_an_unknown_architecture_is_named():
    with pytest.raises(ValueError, match=r"'resnet51'; there are .*resnet50"):
        ResNet("resnet51")


@pytest.mark.parametrize("stride_in_1x1", [True, False])
def test_a_block_strides_once_where_it_is_told(stride_in_1x1):
    block = Bottleneck(32, 8, strides=2, projection=True, stride_in_1x1=stride_in_1x1)
    strides = [conv.strides for conv in (block.conv1, block.conv2, block.conv3, block.shortcut)]
    assert strides == ([2, 1, 1, 2] if stride_in_1x1 else [1, 2, 1, 2])


def test_only_the_first_block_of_stages_3_to_5_strides():
    backbone = ResNet("resnet26", width=8)
    strides = [[block.strides for block in blocks] for blocks in backbone.stages]
    assert strides == [[1, 1], [2, 1], [2, 1], [2, 1]]
    projections = [[block.projection for block in blocks] for blocks in backbone.stages]
    assert projections == [[True, False]] * 4


@pytest.mark.parametrize("architecture", ["resnext50_32x4d", "resnext101_32x8d"])
def test_groups_are_32_of_the_published_width(architecture):
    block = ResNet(architecture).stages[0][0]
    per_group = int(architecture.rsplit("x", 1)[1].removesuffix("d"))
    assert (block.conv2.groups, block.conv2.filters) == (32, 32 * per_group)


def test_a_block_adds_its_shortcut_before_the_last_activation():
    block = Bottleneck(16, 4, norm="frozen_batch_norm")
    inputs = random_pixels(1, 5, 6, 16)
    block(inputs)
    inner = block.conv3(block.conv2(block.conv1(inputs)))
    np.testing.assert_allclose(block(inputs), np.maximum(inner + inputs, 0), atol=1e-6)


def test_the_stem_is_pooled_as_pytorch_pools():
    backbone = ResNet("resnet14", width=8)
    pixels = random_pixels(1, 12, 16, 3)
    res2 = backbone(pixels)["res2"]
    margins = [(0, 0), (1, 1), (1, 1), (0, 0)]
    padded = np.pad(backbone.stem(pixels), margins, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    expected = backbone.stages[0][0](windows.max((-1, -2)))
    np.testing.assert_allclose(res2, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("norm", "weights_of_a_convolution"), [("frozen_batch_norm", 1), ("batch_norm", 3)]
)
@pytest.mark.parametrize("freeze_at", range(6))
def test_freeze_at_leaves_the_later_stages(norm, weights_of_a_convolution, freeze_at):
    backbone = ResNet("resnet14", width=8, norm=norm, freeze_at=freeze_at)
    backbone.build((None, None, None, 3))
    convolutions = [1, 4, 4, 4, 4]
    expected = weights_of_a_convolution * sum(convolutions[freeze_at:])
    assert len(backbone.trainable_weights) == expected


def test_frozen_stages_keep_their_statistics_in_training():
    backbone = ResNet("resnet14", width=8, norm="batch_norm", freeze_at=2)
    backbone(random_pixels(2, 64, 64, 3), training=True)
    convs = [backbone.stem, backbone.stages[0][0].conv1, backbone.stages[1][0].conv1]
    moved = [bool(np.any(conv.norm.moving_mean.numpy())) for conv in convs]
    assert moved == [False, False, True]


@pytest.mark.parametrize("norm", ["frozen_batch_norm", "batch_norm", "group_norm"])
def test_config_round_trip(norm):
    backbone = ResNet(
        "resnet14", width=32, stride_in_1x1=False, norm=norm, freeze_at=1, name="backbone"
    )
    copy = ResNet.from_config(backbone.get_config())
    assert copy.get_config() == backbone.get_config()
    pixels = random_pixels(1, 64, 64, 3)
    expected = backbone(pixels)
    copy(pixels)
    assert len(copy.trainable_weights) == len(backbone.trainable_weights)
    copy.set_weights(backbone.get_weights())
    for stage, values in copy(pixels).items():
        np.testing.assert_array_equal(values, expected[stage])


def test_config_round_trip_of_a_block():
    block = Bottleneck(64, 32, 2, True, groups=4, stride_in_1x1=False, norm="batch_norm", name="b")
    copy = Bottleneck.from_config(block.get_config())
    assert copy.get_config() == block.get_config()
    shape = (1, 7, 9, 16)
    assert copy.compute_output_shape(shape) == tuple(copy(random_pixels(*shape)).shape)


def test_mixed_precision_reaches_every_convolution():
    features = ResNet("resnet14", width=8, dtype="mixed_bfloat16")(random_pixels(1, 64, 64, 3))
    assert {values.dtype for values in features.values()} == {tf.bfloat16}


def test_every_architecture_has_four_stages():
    assert {len(architecture.blocks) for architecture in ARCHITECTURES.values()} == {4}


def test_c4_ends_at_stage_4():
    backbone = ResNet("resnet14", width=8, last_stage=4)
    assert list(backbone(random_pixels(1, 64, 64, 3))) == ["res2", "res3", "res4"]
    assert ResNet.from_config(backbone.get_config()).last_stage == 4
