"""Anchors against Detectron2's formula."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.rpn.anchors import cell_anchors, make_anchors


def detectron2_anchors(height, width, stride, sizes, ratios):
    """Its loops: rows, columns, sizes, ratios."""
    anchors = []
    for row in range(height):
        for column in range(width):
            for size in sizes:
                for ratio in ratios:
                    w = math.sqrt(size**2 / ratio)
                    h = ratio * w
                    x, y = column * stride, row * stride
                    anchors.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return anchors


@pytest.mark.parametrize("sizes", [[32.0], [32.0, 64.0, 128.0]])
@pytest.mark.parametrize("ratios", [[1.0], [0.5, 1.0, 2.0]])
@pytest.mark.parametrize(("height", "width", "stride"), [(2, 3, 4), (5, 1, 16)])
def test_agrees_with_detectron2(height, width, stride, sizes, ratios):
    ours = make_anchors(height, width, stride, sizes, ratios)
    expected = detectron2_anchors(height, width, stride, sizes, ratios)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_anchors_have_the_area_of_their_size_and_the_ratio_height_to_width():
    anchors = cell_anchors([16.0, 64.0], [0.5, 2.0])
    width, height = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    np.testing.assert_allclose(width * height, [256, 256, 4096, 4096], rtol=1e-5)
    np.testing.assert_allclose(height / width, [0.5, 2.0, 0.5, 2.0], rtol=1e-5)


def test_maps_may_have_sizes_known_only_as_the_graph_runs():
    traced = tf.function(
        lambda features: make_anchors(*tf.unstack(tf.shape(features)), 8, [9], [1])
    )
    anchors = traced.get_concrete_function(tf.TensorSpec((None, None)))(tf.zeros((3, 2)))
    np.testing.assert_array_equal(anchors, make_anchors(3, 2, 8, [9], [1]))


def test_torchvision_rounds_the_corners():
    anchors = cell_anchors([32.0], [0.5, 1.0, 2.0], style="torchvision")
    expected = [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    np.testing.assert_array_equal(anchors, expected)
    two = cell_anchors([32.0, 64.0], [0.5, 1.0], style="torchvision")
    assert [b[2] for b in two.tolist()] == [23, 45, 16, 32]  # aspect ratios outer


def test_detectron_s_anchors_are_those_that_it_documents():
    """The comment of its generate_anchors.py lists them; pixels count from 1."""
    documented = [[-83, -39, 100, 56], [-175, -87, 192, 104], [-359, -183, 376, 200]]
    documented += [[-55, -55, 72, 72], [-119, -119, 136, 136], [-247, -247, 264, 264]]
    documented += [[-35, -79, 52, 96], [-79, -167, 96, 184], [-167, -343, 184, 360]]
    anchors = cell_anchors([128.0, 256.0, 512.0], [0.5, 1.0, 2.0], 16, "detectron")
    np.testing.assert_array_equal(anchors, np.array(documented) - [1, 1, 0, 0])


def test_torchvision_s_stride_is_the_quotient_of_the_sizes():
    """800 pixels over the 13 rows of p6 are 61, not 64."""
    shape = (13, 20, 64, [512.0], [1.0], "torchvision")
    anchors = np.reshape(make_anchors(*shape, tf.constant([800, 1280])), (13, 20, 4))
    np.testing.assert_array_equal(anchors[1, 0] - anchors[0, 0], [0, 61, 0, 61])
    np.testing.assert_array_equal(anchors[0, 1] - anchors[0, 0], [64, 0, 64, 0])


def test_an_unknown_style_is_named():
    with pytest.raises(ValueError, match="'caffe'"):
        cell_anchors([32.0], [1.0], style="caffe")
