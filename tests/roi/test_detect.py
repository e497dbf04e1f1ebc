"""Final detections against the steps of Fast R-CNN, written out in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.ops.boxes import box_iou, decode_boxes
from keras_maskrcnn.roi import detect

SIZES = np.array([[80, 100], [60, 70]], np.int32)
COUNTS = np.array([30, 20], np.int32)
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def random_regions(seed=0, regions=30, classes=4):
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 60, (2, regions, 2))
    proposals = np.concatenate([start, start + rng.uniform(5, 50, (2, regions, 2))], -1)
    logits = rng.normal(0, 2, (2, regions, classes + 1))
    deltas = rng.normal(0, 0.5, (2, regions, classes, 4))
    return [values.astype(np.float32) for values in (logits, deltas, proposals)]


def detections_of_image(logits, deltas, proposals, size, score_threshold, nms_threshold, most):
    """[(score, class, box)] of one image, best first."""
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = []
    for k in range(logits.shape[1] - 1):
        boxes = decode_boxes(deltas[:, k], proposals, WEIGHTS).numpy()
        boxes = np.clip(boxes, 0, [size[1], size[0], size[1], size[0]])
        iou, kept = box_iou(boxes, boxes).numpy(), []
        threshold = np.broadcast_to(score_threshold, scores.shape[1] - 1)[k]
        for i in np.argsort(-scores[:, k]):
            if scores[i, k] > threshold and all(iou[i, j] <= nms_threshold for j in kept):
                kept.append(i)
        found += [(scores[i, k], k, boxes[i]) for i in kept]
    return sorted(found, key=lambda detection: -detection[0])[:most]


@pytest.mark.parametrize("most", [10, 100])
@pytest.mark.parametrize("score_threshold", [0.0, 0.05, 0.5, (0.3, 0.0, 1.0, 0.6)])
@pytest.mark.parametrize("nms_threshold", [0.3, 0.5])
def test_agrees_with_the_definition(most, score_threshold, nms_threshold):
    limits = (score_threshold, nms_threshold, most)
    regions = random_regions()
    outputs = detect(*regions, COUNTS, SIZES, *limits)
    assert outputs["boxes"].shape == (2, most, 4)
    for image in range(2):
        parts = (part[image, : COUNTS[image]] for part in regions)
        expected = detections_of_image(*parts, SIZES[image], *limits)
        number = int(outputs["num_detections"][image])
        assert number == len(expected)
        scores, classes, boxes = (list(part) for part in zip(*expected, strict=True))
        np.testing.assert_allclose(outputs["scores"][image, :number], scores, atol=1e-6)
        np.testing.assert_array_equal(outputs["classes"][image, :number], classes)
        np.testing.assert_allclose(outputs["boxes"][image, :number], boxes, atol=1e-4)
        np.testing.assert_array_equal(outputs["classes"][image, number:], -1)
        np.testing.assert_array_equal(outputs["scores"][image, number:], 0.0)


@pytest.mark.parametrize("most", [200, 6])
def test_thresholds_of_classes_leave_out_what_scores_less(most):
    """Of what was found without; where places were short, others take those that come free."""
    thresholds = np.array([0.9, 0.1, 0.3, 0.9])
    limits = {"detections_per_image": most}
    all_found = detect(*random_regions(), COUNTS, SIZES, **limits)
    found = detect(*random_regions(), COUNTS, SIZES, score_threshold=tuple(thresholds), **limits)
    for image in range(2):
        classes, scores = all_found["classes"][image].numpy(), all_found["scores"][image].numpy()
        kept = (classes >= 0) & (scores > thresholds[classes])
        count, number = int(found["num_detections"][image]), int(kept.sum())
        assert 0 < number < int(all_found["num_detections"][image])
        for name in ("boxes", "scores", "classes"):
            np.testing.assert_array_equal(found[name][image, :number], all_found[name][image][kept])
        assert count == (6 if most == 6 else number)


def test_a_score_at_the_threshold_is_left_out():
    arguments = tf.zeros((1, 1, 2)), tf.zeros((1, 1, 1, 4)), tf.constant([[[0.0, 0.0, 9.0, 9.0]]])
    sizes = tf.constant([1]), tf.constant([[9, 9]])
    for threshold, number in ((0.5, 0), (0.49, 1)):
        outputs = detect(*arguments, *sizes, score_threshold=threshold)
        assert int(outputs["num_detections"][0]) == number


def test_the_background_is_never_detected():
    logits, deltas, proposals = random_regions()
    logits[..., -1] = 50.0
    outputs = detect(logits, deltas, proposals, COUNTS, SIZES)
    assert outputs["num_detections"].numpy().tolist() == [0, 0]
    assert (outputs["classes"].numpy() == -1).all()


def test_padded_proposals_are_never_detected():
    outputs = detect(*random_regions(), np.array([0, 1]), SIZES, score_threshold=0.0)
    count = outputs["num_detections"].numpy()
    assert count[0] == 0
    assert 1 <= count[1] <= 4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_not_finite_is_dropped(place, bad):
    regions = random_regions(regions=3)
    clean = detect(*(part[:, 1:] for part in regions), np.array([2, 2]), SIZES)
    regions[place][:, 0, ..., 0] = bad
    outputs = detect(*regions, np.array([3, 3]), SIZES)
    for name in ("scores", "classes", "num_detections", "boxes"):
        np.testing.assert_array_equal(outputs[name], clean[name])


def test_small_boxes_are_dropped_where_a_smallest_side_is_given():
    proposals = tf.constant([[[0.0, 0.0, 10.0, 0.005], [0.0, 0.0, 10.0, 10.0]]])
    arguments = (tf.constant([[[4.0, 0.0]] * 2]), tf.zeros((1, 2, 1, 4)), proposals)
    sizes = (tf.constant([2]), tf.constant([[20, 20]]))
    counts = [int(detect(*arguments, *sizes, min_size=s)["num_detections"][0]) for s in (0.0, 1e-2)]
    assert counts == [2, 1]
