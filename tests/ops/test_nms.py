"""Suppression against the greedy definition, and against torchvision."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.ops.boxes import box_iou
from keras_maskrcnn.ops.nms import batched_nms


def random_boxes(rng, *shape):
    start = rng.uniform(0, 60, (*shape, 2))
    return np.concatenate([start, start + rng.uniform(5, 40, (*shape, 2))], -1).astype(np.float32)


def greedy(boxes, scores, iou_threshold, most):
    """Indices that stay of one group: the best first, each that no better one overlaps too much."""
    iou = box_iou(boxes, boxes).numpy()
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > 0 and all(iou[i, j] <= iou_threshold for j in kept):
            kept.append(i)
    return kept[:most]


def expected_of_image(boxes, scores, iou_threshold, most_a_group, most):
    """(score, group, box) of what stays of an image, best first."""
    kept = [
        (scores[i, group], group, boxes[i, min(group, boxes.shape[1] - 1)])
        for group in range(scores.shape[1])
        for i in greedy(
            boxes[:, min(group, boxes.shape[1] - 1)],
            scores[:, group],
            iou_threshold,
            most_a_group,
        )
    ]
    return sorted(kept, key=lambda entry: -entry[0])[:most]


@pytest.mark.parametrize("groups_of_boxes", [1, 3])
@pytest.mark.parametrize("iou_threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_agrees_with_the_greedy_definition(groups_of_boxes, iou_threshold):
    rng = np.random.default_rng(3)
    boxes = random_boxes(rng, 2, 40, groups_of_boxes)
    scores = rng.uniform(-0.2, 1, (2, 40, 3)).astype(np.float32)
    limits = (iou_threshold, 12, 25)
    kept, kept_scores, groups, count = batched_nms(boxes, scores, *limits)
    for image in range(2):
        expected = expected_of_image(boxes[image], scores[image], *limits)
        number = int(count[image])
        assert number == len(expected)
        np.testing.assert_array_equal(kept_scores[image, :number], [e[0] for e in expected])
        np.testing.assert_array_equal(groups[image, :number], [e[1] for e in expected])
        np.testing.assert_array_equal(kept[image, :number], [e[2] for e in expected])


def test_pads_with_zeros():
    kept, scores, groups, count = batched_nms(
        tf.constant([[[[1.0, 2.0, 3.0, 4.0]]]]), tf.constant([[[0.5]]]), 0.5, 5, 5
    )
    assert count.numpy().tolist() == [1]
    assert kept.shape == (1, 5, 4)
    for padded in (kept[0, 1:], scores[0, 1:], groups[0, 1:]):
        np.testing.assert_array_equal(padded, np.zeros(padded.shape))


def test_an_overlap_at_the_threshold_stays():
    boxes = tf.constant([[[[0.0, 0.0, 2.0, 1.0]], [[0.0, 0.0, 1.0, 1.0]]]])
    *_, count = batched_nms(boxes, tf.constant([[[0.9], [0.8]]]), 0.5, 5, 5)
    assert int(count[0]) == 2


def test_scores_of_0_never_fill_the_places_of_better_ones():
    boxes = tf.constant(random_boxes(np.random.default_rng(4), 1, 3, 1))
    scores = tf.constant([[[1e-20], [0.0], [1e-3]]])
    _, kept_scores, _, count = batched_nms(boxes, scores, 1.0, 3, 3)
    assert int(count[0]) == 2
    np.testing.assert_allclose(kept_scores[0, :2], [1e-3, 1e-20])


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_keeps_what_torchvision_keeps(shared, threshold):
    goldens = np.load(shared / "goldens" / "ops.npz")
    boxes, scores = goldens["nms/boxes_xyxy"], goldens["nms/scores"]
    classes = goldens["nms/classes"]
    by_class = np.where(classes[:, None] == np.arange(classes.max() + 1), scores[:, None], 0.0)
    kept, kept_scores, groups, count = batched_nms(
        boxes[None, :, None], by_class[None].astype(np.float32), threshold, 2000, 2000
    )
    expected = goldens[f"nms/kept_{threshold}"]
    number = int(count[0])
    assert number == len(expected)
    ours = np.column_stack([kept_scores[0], groups[0], kept[0]])[:number]
    theirs = np.column_stack([scores, classes, boxes])[expected]
    np.testing.assert_array_equal(np.unique(ours, axis=0), np.unique(theirs, axis=0))
