"""Boxes against their definitions in plain Python."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_maskrcnn.ops.boxes import box_area, box_iou, clip_boxes, decode_boxes, encode_boxes

WEIGHTS = [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]


def random_boxes(rng, *shape):
    corners = rng.uniform(0, 100, (*shape, 2, 2))
    return np.concatenate([corners.min(-2), corners.max(-2)], axis=-1).astype(np.float32)


def boxes_with_area(number):
    """Strategy: (number, 4) boxes with sides of 1 to 1000 pixels, partly out of the image."""
    starts = hnp.arrays(np.float32, (number, 2), elements=st.floats(-500, 2000, width=32))
    sides = hnp.arrays(np.float32, (number, 2), elements=st.floats(1, 1000, width=32))
    return st.tuples(starts, sides).map(lambda pair: np.hstack([pair[0], pair[0] + pair[1]]))


def iou_of_two(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def test_area_of_a_box_is_its_sides_multiplied():
    boxes = tf.constant([[[0.0, 0.0, 3.0, 2.0], [-1.5, 2.0, 0.5, 2.5]]])
    np.testing.assert_allclose(box_area(boxes), [[6.0, 1.0]])


@pytest.mark.parametrize("box", [[5.0, 5.0, 5.0, 9.0], [9.0, 0.0, 1.0, 5.0], [9.0, 9.0, 1.0, 1.0]])
def test_empty_and_inverted_boxes_have_no_area(box):
    assert float(box_area(tf.constant(box))) == 0.0


def test_iou_is_that_of_every_pair():
    rng = np.random.default_rng(0)
    boxes1, boxes2 = random_boxes(rng, 2, 7), random_boxes(rng, 2, 5)
    expected = [
        [[iou_of_two(a, b) for b in image2] for a in image1]
        for image1, image2 in zip(boxes1, boxes2, strict=True)
    ]
    np.testing.assert_allclose(box_iou(boxes1, boxes2), expected, atol=1e-6)


def test_iou_broadcasts_shared_boxes_over_the_batch():
    rng = np.random.default_rng(1)
    anchors, boxes = random_boxes(rng, 1, 6), random_boxes(rng, 3, 4)
    each = [box_iou(anchors[0], image) for image in boxes]
    np.testing.assert_array_equal(box_iou(anchors, boxes), each)


@given(boxes_with_area(4))
@settings(max_examples=40, deadline=None)
def test_iou_is_symmetric_within_0_and_1_and_1_with_itself(boxes):
    iou = box_iou(boxes, boxes).numpy()
    assert ((iou >= 0) & (iou <= 1 + 1e-5)).all()
    np.testing.assert_allclose(iou, iou.T, atol=1e-5)
    np.testing.assert_allclose(np.diag(iou), 1.0, atol=1e-5)


def test_iou_of_boxes_without_area_is_0():
    empty = tf.zeros((1, 4))
    assert float(box_iou(empty, empty)[0, 0]) == 0.0


def test_clip_cuts_at_the_borders_of_each_image():
    boxes = np.array([[-5, -5, 50, 60], [2, 3, 4, 5], [60, 60, 70, 70]], np.float32)
    clipped = clip_boxes(tf.constant([boxes, boxes]), tf.constant([[40, 30], [100, 100]]))
    np.testing.assert_array_equal(clipped[0], [[0, 0, 30, 40], [2, 3, 4, 5], [30, 40, 30, 40]])
    np.testing.assert_array_equal(clipped[1], [[0, 0, 50, 60], [2, 3, 4, 5], [60, 60, 70, 70]])


def test_clip_takes_a_box_for_each_class():
    boxes = random_boxes(np.random.default_rng(2), 2, 5, 3)
    clipped = clip_boxes(tf.constant(boxes), tf.constant([[50, 20], [10, 90]])).numpy()
    for image, (height, width) in enumerate([(50, 20), (10, 90)]):
        limits = [width, height, width, height]
        np.testing.assert_array_equal(clipped[image], np.minimum(boxes[image], limits))


def test_encode_follows_the_formula():
    anchor, box = tf.constant([0.0, 0.0, 10.0, 20.0]), tf.constant([5.0, 5.0, 25.0, 15.0])
    expected = [10 * 10 / 10, 10 * 0 / 20, 5 * math.log(20 / 10), 5 * math.log(10 / 20)]
    np.testing.assert_allclose(encode_boxes(box, anchor, WEIGHTS[1]), expected, atol=1e-6)


@pytest.mark.parametrize("weights", WEIGHTS)
@given(boxes=boxes_with_area(3), anchors=boxes_with_area(3))
@settings(max_examples=40, deadline=None)
def test_decode_undoes_encode(weights, boxes, anchors):
    side_ratio = (boxes[:, 2:] - boxes[:, :2]) / (anchors[:, 2:] - anchors[:, :2])
    anchors[(side_ratio > 60).any(-1)] = boxes[(side_ratio > 60).any(-1)]
    decoded = decode_boxes(encode_boxes(boxes, anchors, weights), anchors, weights)
    np.testing.assert_allclose(decoded, boxes, atol=0.02)


def test_decode_limits_the_growth_of_a_side():
    anchor = tf.constant([100.0, 100.0, 116.0, 132.0])
    for growth in (math.log(1000 / 16), 5.0, 1e6, float("inf")):
        x0, y0, x1, y1 = decode_boxes(tf.constant([0.0, 0.0, growth, growth]), anchor).numpy()
        assert x1 - x0 == pytest.approx(1000, rel=1e-5)
        assert y1 - y0 == pytest.approx(2000, rel=1e-5)


def test_decode_limits_after_the_weights():
    anchor = tf.constant([0.0, 0.0, 10.0, 10.0])
    deltas = tf.constant([0.0, 0.0, 5.0, 0.0])
    x0, _, x1, _ = decode_boxes(deltas, anchor, WEIGHTS[1]).numpy()
    assert x1 - x0 == pytest.approx(10 * math.e, rel=1e-5)
