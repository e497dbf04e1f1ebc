"""Matching against Detectron2's rules, written out in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.training import matching
from keras_maskrcnn.training.matching import BACKGROUND, FOREGROUND, IGNORED, match


def random_boxes(rng, *shape):
    start = rng.uniform(0, 50, (*shape, 2))
    return np.concatenate([start, start + rng.uniform(5, 50, (*shape, 2))], -1).astype(np.float32)


def iou_of_two(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def match_image(boxes, gt_boxes, fg_threshold, bg_threshold, allow_low_quality):
    """(index of the best ground truth, label) of each box of one image."""
    iou = np.array([[iou_of_two(box, gt) for gt in gt_boxes] for box in boxes])
    labels = []
    for row in iou:
        best = row.max()
        is_best_of_a_gt = any(row[k] > 0 and row[k] == iou[:, k].max() for k in range(len(row)))
        if best >= fg_threshold or (allow_low_quality and is_best_of_a_gt):
            labels.append(FOREGROUND)
        else:
            labels.append(BACKGROUND if best < bg_threshold else IGNORED)
    return iou.argmax(1), np.array(labels)


@pytest.mark.parametrize("allow_low_quality", [False, True])
@pytest.mark.parametrize("thresholds", [(0.5, 0.5), (0.7, 0.3), (0.95, 0.1)])
def test_agrees_with_the_definition(thresholds, allow_low_quality):
    rng = np.random.default_rng(0)
    boxes, gt_boxes = random_boxes(rng, 2, 60), random_boxes(rng, 2, 5)
    number = [5, 3]  # the rest is padding
    valid = np.arange(5) < np.array(number)[:, None]
    matched, labels = match(boxes, gt_boxes, valid, *thresholds, allow_low_quality)
    for image in range(2):
        gt = gt_boxes[image, : number[image]]
        expected = match_image(boxes[image], gt, *thresholds, allow_low_quality)
        np.testing.assert_array_equal(matched[image], expected[0])
        np.testing.assert_array_equal(labels[image], expected[1])


@pytest.mark.parametrize("at_a_time", [1, 2, 5])
def test_many_are_matched_some_at_a_time(at_a_time, monkeypatch):
    """Also in a graph that knows no shape; two of the seven are the same box."""
    rng = np.random.default_rng(3)
    boxes, gt_boxes = random_boxes(rng, 2, 60), random_boxes(rng, 2, 7)
    gt_boxes[:, 6] = gt_boxes[:, 1]
    valid = np.arange(7) < np.array([[7], [4]])
    expected = match(boxes, gt_boxes, valid, 0.5, 0.3, True)
    monkeypatch.setattr(matching, "GT_BOXES_AT_A_TIME", at_a_time)
    unknown = [tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, None, 4))]
    graph = tf.function(
        lambda *parts: match(*parts, 0.5, 0.3, True),
        input_signature=[*unknown, tf.TensorSpec((None, None), tf.bool)],
    )
    for ours in (match(boxes, gt_boxes, valid, 0.5, 0.3, True), graph(boxes, gt_boxes, valid)):
        for part, expected_part in zip(ours, expected, strict=True):
            np.testing.assert_array_equal(part, expected_part)


def labels_of(boxes, gt_boxes, fg=0.7, bg=0.3):
    gt_boxes = tf.constant([gt_boxes], tf.float32)
    valid = tf.ones(gt_boxes.shape[:2], tf.bool)
    _, labels = match(tf.constant([boxes], tf.float32), gt_boxes, valid, fg, bg, True)
    return labels[0].numpy().tolist()


def test_anchors_shared_by_the_batch_match_each_image():
    rng = np.random.default_rng(1)
    anchors, gt_boxes = random_boxes(rng, 1, 20), random_boxes(rng, 3, 4)
    valid = np.ones((3, 4), bool)
    ours = match(anchors, gt_boxes, valid, 0.5, 0.3, True)
    expected = match(np.repeat(anchors, 3, 0), gt_boxes, valid, 0.5, 0.3, True)
    for part, expected_part in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(part, expected_part)


def test_the_thresholds_belong_to_foreground_and_to_ignored():
    # IoU 0.5 with the ground truth, which another box covers whole.
    boxes = [[0, 0, 2, 1], [0, 0, 1, 1]]
    assert labels_of(boxes, [[0, 0, 2, 1]], fg=0.5, bg=0.25) == [FOREGROUND, FOREGROUND]
    assert labels_of(boxes, [[0, 0, 2, 1]], fg=0.75, bg=0.5) == [FOREGROUND, IGNORED]


def test_all_boxes_that_tie_for_a_ground_truth_are_foreground():
    boxes = [[0, 0, 1, 1], [1, 0, 2, 1], [0, 0, 0.5, 1], [9, 9, 10, 10]]
    expected = [FOREGROUND, FOREGROUND, BACKGROUND, BACKGROUND]
    assert labels_of(boxes, [[0, 0, 2, 4]]) == expected


def test_a_ground_truth_that_nothing_touches_makes_no_foreground():
    assert labels_of([[0, 0, 1, 1], [2, 2, 3, 3]], [[50, 50, 60, 60]]) == [BACKGROUND, BACKGROUND]


@pytest.mark.parametrize("allow_low_quality", [False, True])
def test_without_ground_truth_all_is_background(allow_low_quality):
    boxes = random_boxes(np.random.default_rng(2), 1, 7)
    valid = np.zeros((1, 3), bool)
    matched, labels = match(boxes, boxes[:, :3], valid, 0.5, 0.5, allow_low_quality)
    assert (labels.numpy() == BACKGROUND).all()
    assert ((matched.numpy() >= 0) & (matched.numpy() < 3)).all()
