"""Targets of anchors, proposals and masks against their definitions."""

import numpy as np
import pytest

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data import crop_masks
from keras_maskrcnn.ops.boxes import decode_boxes
from keras_maskrcnn.rpn import make_anchors
from keras_maskrcnn.training.targets import anchor_targets, mask_targets, proposal_targets

CONFIG = MaskRCNNConfig(num_classes=3, box_batch_size_per_image=16, rpn_batch_size_per_image=32)
GT_BOXES = np.array(
    [[[8, 8, 40, 40], [50, 10, 90, 60]], [[20, 5, 60, 45], [0, 0, 0, 0]]], np.float32
)
GT_CLASSES = np.array([[0, 2], [1, -1]], np.int32)
ANCHORS = make_anchors(8, 12, 8, [16.0, 32.0], [0.5, 1.0, 2.0]).numpy()


def random_proposals(seed=0, number=30):
    """Some near the ground truth, some anywhere."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 60, (2, number, 2))
    proposals = np.concatenate([start, start + rng.uniform(5, 30, (2, number, 2))], -1)
    near = np.repeat(GT_BOXES[:, :1], number // 2, 1) + rng.normal(0, 3, (2, number // 2, 4))
    proposals[:, : number // 2] = near
    return proposals.astype(np.float32)


def targets_of(proposals, counts, gt_boxes=GT_BOXES, gt_classes=GT_CLASSES):
    targets = proposal_targets(proposals, np.array(counts), gt_boxes, gt_classes, CONFIG, (1, 2))
    return type(targets)(*(part.numpy() for part in targets))


def test_anchor_deltas_lead_to_the_ground_truth():
    targets = anchor_targets(ANCHORS, GT_BOXES, GT_CLASSES >= 0, CONFIG, (1, 2))
    foreground = targets.sample.foreground.numpy()
    assert (foreground.sum(1) > 0).all()
    boxes = decode_boxes(targets.deltas, ANCHORS[targets.sample.indices.numpy()]).numpy()
    for image in range(2):
        gt = GT_BOXES[image, GT_CLASSES[image] >= 0]
        for box in boxes[image, foreground[image]]:
            assert np.abs(gt - box).max(1).min() < 1e-3
    np.testing.assert_array_equal(targets.deltas.numpy()[~foreground], 0.0)


def test_anchors_of_an_image_without_objects_are_background():
    targets = anchor_targets(ANCHORS, GT_BOXES, np.zeros((2, 2), bool), CONFIG, (1, 2))
    assert not targets.sample.foreground.numpy().any()
    assert targets.sample.valid.numpy().all()
    np.testing.assert_array_equal(targets.deltas, 0.0)


def test_proposals_get_the_class_and_the_deltas_of_their_ground_truth():
    targets = targets_of(random_proposals(), [30, 30])
    foreground = targets.foreground
    assert (foreground.sum(1) == 4).all()  # a quarter of 16
    weights = CONFIG.box_regression_weights
    for image in range(2):
        chosen = foreground[image]
        gt_index = targets.matched[image, chosen]
        decoded = decode_boxes(targets.deltas[image, chosen], targets.boxes[image, chosen], weights)
        np.testing.assert_allclose(decoded, GT_BOXES[image, gt_index], atol=1e-3)
        np.testing.assert_array_equal(targets.classes[image, chosen], GT_CLASSES[image, gt_index])
    assert (targets.classes[~foreground] == CONFIG.num_classes).all()
    np.testing.assert_array_equal(targets.deltas[~foreground], 0.0)


def test_the_ground_truth_is_among_the_proposals():
    targets = targets_of(np.zeros((2, 5, 4), np.float32), [0, 0])
    assert targets.valid.sum(1).tolist() == [2, 1]
    assert targets.foreground.sum(1).tolist() == [2, 1]
    for image, number in enumerate((2, 1)):
        order = targets.matched[image, :number]
        np.testing.assert_array_equal(targets.boxes[image, :number], GT_BOXES[image, order])
        assert sorted(order) == list(range(number))
        np.testing.assert_allclose(targets.deltas[image, :number], 0.0, atol=1e-6)


def test_padded_proposals_are_never_chosen():
    proposals = random_proposals()
    proposals[:, 10:] = 7777.0
    targets = targets_of(proposals, [10, 10])
    assert (targets.boxes < 1000).all()
    np.testing.assert_array_equal(targets.boxes[~targets.valid], 0.0)


def test_an_image_without_objects_has_background_only():
    targets = targets_of(random_proposals(), [30, 30], gt_classes=np.full((2, 2), -1, np.int32))
    assert not targets.foreground.any()
    assert targets.valid.all()
    assert (targets.classes == CONFIG.num_classes).all()


@pytest.mark.parametrize("degenerate", [[10, 10, 10, 30], [10, 10, 10, 10], [30, 30, 10, 10]])
def test_degenerate_boxes_give_finite_targets(degenerate):
    gt_boxes = GT_BOXES.copy()
    gt_boxes[0, 0] = degenerate
    proposals = random_proposals()
    proposals[:, :5] = degenerate
    targets = targets_of(proposals, [30, 30], gt_boxes)
    assert np.isfinite(targets.deltas).all()
    anchors = anchor_targets(ANCHORS, gt_boxes, GT_CLASSES >= 0, CONFIG, (1, 2))
    assert np.isfinite(anchors.deltas.numpy()).all()
    masks = mask_targets(
        targets.boxes, targets.matched, gt_boxes, np.ones((2, 2, 8, 8), np.uint8), 7
    )
    assert set(np.unique(masks)) <= {0.0, 1.0}


def mask_values(box, gt_box, mask, size):
    """The definition: bilinear between cell centres, 0 outside."""
    cells = len(mask)
    padded = np.pad(mask.astype(float), 1)
    target = np.zeros((size, size))
    for i, j in np.ndindex(size, size):
        y = box[1] + (i + 0.5) * (box[3] - box[1]) / size
        x = box[0] + (j + 0.5) * (box[2] - box[0]) / size
        v = np.clip((y - gt_box[1]) / (gt_box[3] - gt_box[1]) * cells - 0.5, -1, cells)
        u = np.clip((x - gt_box[0]) / (gt_box[2] - gt_box[0]) * cells - 0.5, -1, cells)
        top, left = min(int(np.floor(v)), cells - 1), min(int(np.floor(u)), cells - 1)
        corners = padded[top + 1 : top + 3, left + 1 : left + 3]
        rows, columns = [1 - (v - top), v - top], [1 - (u - left), u - left]
        target[i, j] = np.array(rows) @ corners @ np.array(columns)
    return target


def random_masks(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 2, shape, dtype=np.uint8)


def test_mask_targets_are_sampled_at_the_centres_of_the_cells():
    boxes = random_proposals(number=6) + np.float32(0.0137)
    masks = random_masks(2, 2, 9, 9)
    matched = np.array([[0, 1, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0]], np.int32)
    targets = mask_targets(boxes, matched, GT_BOXES, masks, 14)
    assert targets.shape == (2, 6, 14, 14)
    for image, region in np.ndindex(2, 6):
        gt = matched[image, region]
        values = mask_values(boxes[image, region], GT_BOXES[image, gt], masks[image, gt], 14)
        np.testing.assert_array_equal(targets[image, region], values >= 0.5)


def torchvision_target(box, mask, size):
    """torchvision's definition: a RoIAlign of the whole mask that is not aligned."""
    scale = (box[2:] - box[:2]) / size
    samples = np.maximum(np.ceil(scale), 1).astype(int)
    target = np.zeros((size, size))
    for i, j in np.ndindex(size, size):
        for r, c in np.ndindex(samples[1], samples[0]):
            y = np.clip(box[1] + (i + (r + 0.5) / samples[1]) * scale[1], 0, len(mask) - 1)
            x = np.clip(box[0] + (j + (c + 0.5) / samples[0]) * scale[0], 0, len(mask[0]) - 1)
            top, left = int(y), int(x)
            corners = mask[top : top + 2, left : left + 2]
            rows = np.array([1 - (y - top), y - top])[: corners.shape[0]]
            target[i, j] += (
                rows @ corners @ np.array([1 - (x - left), x - left])[: corners.shape[1]]
            )
    return target / samples.prod()


@pytest.mark.parametrize("radius", [9, 30, 70])
def test_mask_targets_of_torchvision(radius):
    """Ours come from masks of 112 x 112 in their boxes, so they are close and not the same."""
    y, x = np.mgrid[:200, :240] + 0.5
    mask = ((y - 95) ** 2 + (x - 112) ** 2 < radius**2).astype(np.float32)
    gt_box = np.array([112 - radius, 95 - radius, 112 + radius, 95 + radius], np.float32)
    cropped = crop_masks(mask[None], gt_box[None])[None]
    box = gt_box + np.array([-3, 2, 4, 1], np.float32) * radius / 10

    def error(style):
        targets = mask_targets(box[None, None], [[0]], gt_box[None, None], cropped, 28, style)
        return np.abs(targets[0, 0] - torchvision_target(box, mask, 28)).mean()

    assert error("torchvision") < 0.012
    assert error("torchvision") < 0.5 * error("detectron2")


def test_a_region_that_is_its_ground_truth_gets_the_mask_itself():
    masks = random_masks(2, 2, 14, 14)
    matched = np.array([[0, 1], [0, 0]], np.int32)
    boxes = np.stack([GT_BOXES[0], GT_BOXES[1, [0, 0]]])
    targets = mask_targets(boxes, matched, GT_BOXES, masks, 14).numpy()
    np.testing.assert_array_equal(targets, np.stack([masks[0], masks[1, [0, 0]]]))


def test_outside_its_ground_truth_a_region_is_empty():
    boxes = np.array([[[-100, -100, -50, -50], [8, 8, 72, 40]]], np.float32)
    masks = np.ones((1, 2, 16, 16), np.uint8)
    targets = mask_targets(boxes, np.zeros((1, 2), np.int32), GT_BOXES[:1], masks, 8).numpy()
    np.testing.assert_array_equal(targets[0, 0], 0.0)
    np.testing.assert_array_equal(targets[0, 1], [[1] * 4 + [0] * 4] * 8)


def test_a_flipped_image_has_flipped_targets():
    width = 100
    boxes, masks = random_proposals(number=6) + np.float32(0.0137), random_masks(2, 2, 9, 9)
    matched = np.zeros((2, 6), np.int32)

    def flip(boxes):
        return np.stack(
            [width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], -1
        )

    targets = mask_targets(boxes, matched, GT_BOXES, masks, 14).numpy()
    flipped = mask_targets(flip(boxes), matched, flip(GT_BOXES), masks[..., ::-1], 14).numpy()
    np.testing.assert_array_equal(flipped, targets[..., ::-1])
