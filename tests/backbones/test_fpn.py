"""The Feature Pyramid Network against its definition."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.backbones import FPN

STAGES = ("res2", "res3", "res4", "res5")


def random_stages(channels=(4, 4, 4, 4)):
    rng = np.random.default_rng(0)
    return {
        stage: rng.normal(size=(2, 48 // 2**i, 16 // 2**i, width)).astype(np.float32)
        for i, (stage, width) in enumerate(zip(STAGES, channels, strict=True))
    }


@pytest.fixture
def identity_fpn():
    """A pyramid whose convolutions hand on what they get."""
    fpn = FPN(4)
    fpn(random_stages())
    for conv in (*fpn.lateral, *fpn.output_convs):
        kernel = np.zeros(conv.kernel.shape, np.float32)
        kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = np.eye(4)
        conv.kernel.assign(kernel)
        conv.bias.assign(np.zeros(4))
    return fpn


def test_each_level_is_its_stage_and_the_coarser_level_doubled(identity_fpn):
    stages = random_stages()
    pyramid = identity_fpn(stages)
    assert list(pyramid) == ["p2", "p3", "p4", "p5", "p6"]
    expected = stages["res5"]
    np.testing.assert_allclose(pyramid["p5"], expected, atol=1e-6)
    for level, stage in (("p4", "res4"), ("p3", "res3"), ("p2", "res2")):
        expected = stages[stage] + np.kron(expected, np.ones((1, 2, 2, 1)))
        np.testing.assert_allclose(pyramid[level], expected, atol=1e-5)


def test_p6_is_every_second_cell_of_p5(identity_fpn):
    pyramid = identity_fpn(random_stages())
    np.testing.assert_array_equal(pyramid["p6"], pyramid["p5"][:, ::2, ::2])
    assert pyramid["p6"].shape == (2, 3, 1, 4)


def test_merging_comes_before_the_output_convolutions(identity_fpn):
    stages = random_stages()
    plain = identity_fpn(stages)
    identity_fpn.output_convs[3].bias.assign(np.full(4, 5.0))
    changed = identity_fpn(stages)
    np.testing.assert_allclose(changed["p5"], plain["p5"] + 5.0, atol=1e-6)
    np.testing.assert_array_equal(changed["p4"], plain["p4"])


def test_stages_of_any_width_become_one_width():
    pyramid = FPN(8)(random_stages(channels=(4, 8, 16, 32)))
    assert {values.shape[-1] for values in pyramid.values()} == {8}


@pytest.mark.parametrize("norm", [None, "group_norm"])
def test_config_round_trip(norm):
    fpn = FPN(32, norm=norm, name="fpn")
    copy = FPN.from_config(fpn.get_config())
    assert copy.get_config() == fpn.get_config()
    stages = random_stages()
    expected = fpn(stages)
    copy(stages)
    copy.set_weights(fpn.get_weights())
    for level, values in copy(stages).items():
        np.testing.assert_array_equal(values, expected[level])


def test_group_norm_replaces_the_biases():
    fpn = FPN(32, norm="group_norm")
    fpn(random_stages())
    names = {weight.name for weight in fpn.weights}
    assert names == {"kernel", "gamma", "beta"}


def test_mixed_precision():
    pyramid = FPN(8, dtype="mixed_bfloat16")(random_stages())
    assert {values.dtype for values in pyramid.values()} == {tf.bfloat16}
