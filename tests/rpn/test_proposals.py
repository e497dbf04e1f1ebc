"""Proposals against Detectron2's steps, written out in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.ops.boxes import box_iou, clip_boxes, decode_boxes
from keras_maskrcnn.rpn import ProposalLayer, make_anchors

SIZES = np.array([[64, 96], [48, 80]], np.int32)
EVERYTHING = np.array([[1000, 1000]], np.int32)


def random_levels(seed=0, logit_mean=0.0):
    """logits, deltas and anchors of three levels for two images."""
    rng = np.random.default_rng(seed)
    anchors = [
        make_anchors(64 // s, 96 // s, s, [3.0 * s], [0.5, 1.0]).numpy() for s in (8, 16, 32)
    ]
    logits = [rng.normal(logit_mean, 3, (2, len(a))).astype(np.float32) for a in anchors]
    deltas = [rng.normal(0, 0.3, (2, len(a), 4)).astype(np.float32) for a in anchors]
    return logits, deltas, anchors


def greedy(boxes, threshold):
    """Indices that stay of boxes sorted by score."""
    iou, kept = box_iou(boxes, boxes).numpy(), []
    for i in range(len(boxes)):
        if all(iou[i, j] <= threshold for j in kept):
            kept.append(i)
    return kept


def proposals_of_image(logits, deltas, anchors, image_size, pre, post, threshold):
    """(boxes, logits) of one image: best of each level, clipped, thinned, best of all."""
    boxes, scores = [], []
    for level_logits, level_deltas, level_anchors in zip(logits, deltas, anchors, strict=True):
        best = np.argsort(-level_logits, kind="stable")[:pre]
        decoded = decode_boxes(level_deltas[best], level_anchors[best])
        decoded = clip_boxes(decoded[None], image_size[None])[0].numpy()
        sides = decoded[:, 2:] - decoded[:, :2]
        usable = (sides > 0).all(1)
        decoded, level_scores = decoded[usable], level_logits[best][usable]
        kept = greedy(decoded, threshold)
        boxes.append(decoded[kept])
        scores.append(level_scores[kept])
    boxes, scores = np.concatenate(boxes), np.concatenate(scores)
    order = np.argsort(-scores, kind="stable")[:post]
    return boxes[order], scores[order]


def call_with_boxes(layer, boxes, logits, image_sizes=EVERYTHING):
    """The layer on one level whose anchors are `boxes` and stay where they are."""
    boxes, logits = np.array(boxes, np.float32), np.array([logits], np.float32)
    return layer([logits], [np.zeros((1, len(boxes), 4), np.float32)], [boxes], image_sizes)


@pytest.mark.parametrize("logit_mean", [0.0, -10.0, 20.0])
@pytest.mark.parametrize(("pre", "post"), [(10, 12), (40, 20), (1000, 500)])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_agrees_with_the_definition(logit_mean, pre, post, threshold):
    levels = random_levels(logit_mean=logit_mean)
    proposals, scores, count = ProposalLayer(pre, post, threshold)(*levels, SIZES)
    assert (proposals.shape, scores.shape) == ((2, post, 4), (2, post))
    for image in range(2):
        logits, deltas = ([level[image] for level in part] for part in levels[:2])
        boxes, expected = proposals_of_image(
            logits, deltas, levels[2], SIZES[image], pre, post, threshold
        )
        number = int(count[image])
        assert number == len(boxes)
        np.testing.assert_allclose(scores[image, :number], expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(proposals[image, :number], boxes, atol=1e-4)
        np.testing.assert_array_equal(proposals[image, number:], 0.0)
        assert np.isneginf(scores[image, number:]).all()


def test_levels_do_not_suppress_each_other():
    box = np.array([[10.0, 10.0, 50.0, 50.0]], np.float32)
    logits, deltas = np.zeros((1, 1), np.float32), np.zeros((1, 1, 4), np.float32)
    *_, count = ProposalLayer(5, 5, 0.7)([logits] * 2, [deltas] * 2, [box] * 2, EVERYTHING)
    assert int(count[0]) == 2
    *_, count = call_with_boxes(ProposalLayer(5, 5, 0.7), [box[0], box[0]], [0.0, 0.0])
    assert int(count[0]) == 1


def test_proposals_are_clipped_to_their_image():
    layer = ProposalLayer(5, 5, 0.7)
    proposals, *_ = call_with_boxes(layer, [[-9, -9, 99, 99]], [0.0], np.array([[40, 30]]))
    np.testing.assert_allclose(proposals[0, 0], [0, 0, 30, 40], atol=1e-4)


def test_boxes_out_of_the_image_are_dropped():
    boxes = [[50, 5, 60, 20], [5, 50, 20, 60], [5, 5, 20, 20], [7, 7, 7, 20]]
    layer = ProposalLayer(5, 5, 0.7)
    proposals, _, count = call_with_boxes(layer, boxes, [9, 8, 7, 6], np.array([[40, 40]]))
    assert int(count[0]) == 1
    np.testing.assert_allclose(proposals[0, 0], boxes[2], atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", ["logits", "deltas"])
def test_what_is_not_finite_is_dropped(place, bad):
    anchors = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)
    logits, deltas = np.zeros((1, 2), np.float32), np.zeros((1, 2, 4), np.float32)
    {"logits": logits[0], "deltas": deltas[0, :, 0]}[place][0] = bad
    proposals, scores, count = ProposalLayer(5, 5, 0.7)([logits], [deltas], [anchors], EVERYTHING)
    assert int(count[0]) == 1
    np.testing.assert_allclose(proposals[0, 0], anchors[1])
    assert float(scores[0, 0]) == pytest.approx(0.0, abs=1e-6)


def test_proposals_carry_no_gradient():
    logits, deltas, anchors = random_levels()
    variables = [tf.constant(level) for level in (*logits, *deltas)]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        proposals, scores, _ = ProposalLayer(20, 20, 0.7)(
            variables[:3], variables[3:], anchors, SIZES
        )
        total = tf.reduce_sum(proposals) + tf.reduce_sum(scores[:, :5])
    assert tape.gradient(total, variables) == [None] * 6


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_does_not_round_coordinates(dtype):
    box = [801.25, 603.5, 901.75, 703.25]
    proposals, scores, _ = call_with_boxes(ProposalLayer(5, 5, 0.7, dtype=dtype), [box], [1.2345])
    np.testing.assert_allclose(proposals[0, 0], box, atol=1e-3)
    assert float(scores[0, 0]) == pytest.approx(1.2345, rel=1e-5)


def test_config_round_trip():
    layer = ProposalLayer(100, 50, 0.6, name="proposals")
    copy = ProposalLayer.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    levels = random_levels()
    for ours, expected in zip(copy(*levels, SIZES), layer(*levels, SIZES), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(("min_size", "expected"), [(0.0, 2), (1e-3, 1)])
def test_small_proposals_are_dropped(min_size, expected):
    anchors = [tf.constant([[0.0, 0.0, 9.0, 1e-4], [0.0, 0.0, 9.0, 9.0], [20.0, 3.0, 20.0, 9.0]])]
    layer = ProposalLayer(5, 5, 0.7, min_size)
    *_, count = layer([tf.zeros((1, 3))], [tf.zeros((1, 3, 4))], anchors, tf.constant([[64, 64]]))
    assert int(count[0]) == expected
    assert ProposalLayer.from_config(layer.get_config()).min_size == min_size
