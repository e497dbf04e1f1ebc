import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from keras_maskrcnn.data import crop_masks
from keras_maskrcnn.data.masks import (
    broken_masks,
    decode_mask,
    decode_rle,
    encode_mask,
    pack_mask,
    rasterize,
    unpack_mask,
)
from keras_maskrcnn.data.records import Instance, Record


def by_definition(mask, box, size):
    """The mask at each cell's centre, bilinear between the centres of pixels."""
    crop = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            y = np.clip(box[1] + (i + 0.5) / size * (box[3] - box[1]) - 0.5, 0, len(mask) - 1)
            x = np.clip(box[0] + (j + 0.5) / size * (box[2] - box[0]) - 0.5, 0, mask.shape[1] - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, len(mask) - 1), min(left + 1, mask.shape[1] - 1)
            upper = mask[top, left] * (1 - x + left) + mask[top, right] * (x - left)
            lower = mask[bottom, left] * (1 - x + left) + mask[bottom, right] * (x - left)
            crop[i, j] = upper * (1 - y + top) + lower * (y - top)
    return crop


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_against_definition_in_numpy_and_tensorflow(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(3, 20, 2)
    masks = rng.integers(0, 2, (2, height, width)).astype(np.uint8)
    low = rng.uniform(0, 0.6, (2, 2)) * (width, height)
    boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, (2, 2)) * (width, height)], 1)
    boxes = boxes.astype(np.float32)
    crops = crop_masks(masks, boxes, size=6)
    tensors = crop_masks(tf.constant(masks), tf.constant(boxes), size=6)
    assert crops.dtype == np.uint8
    assert tensors.dtype == tf.uint8
    for mask, box, crop, tensor in zip(masks, boxes, crops, tensors.numpy(), strict=True):
        expected = by_definition(mask, box, 6)
        clear = np.abs(expected - 0.5) > 1e-4
        np.testing.assert_array_equal(crop[clear], (expected >= 0.5)[clear])
        np.testing.assert_array_equal(tensor[clear], (expected >= 0.5)[clear])


def test_inside_tf_data_and_none_at_all():
    masks, boxes = np.ones((3, 9, 9), np.uint8), np.tile(np.float32([1, 1, 8, 8]), (3, 1))
    dataset = tf.data.Dataset.from_tensors((masks, boxes)).map(lambda m, b: crop_masks(m, b, 5))
    np.testing.assert_array_equal(next(iter(dataset)), np.ones((3, 5, 5)))
    assert crop_masks(np.zeros((0, 9, 9)), np.zeros((0, 4)), 5).shape == (0, 5, 5)


def test_polygon_and_rle_of_the_same_object_agree():
    polygon = [[10.0, 8.0, 60.0, 12.0, 55.0, 70.0, 20.0, 64.0]]
    rle = coco_mask.merge(coco_mask.frPyObjects(polygon, 80, 90))
    box = (10.0, 8.0, 60.0, 70.0)
    from_polygon = rasterize(polygon, box, 80, 90, 112)
    from_rle = rasterize(rle, box, 80, 90, 112)
    assert (from_polygon == from_rle).mean() > 0.98


def test_parts_are_merged_and_flips_commute():
    parts = [[2.0, 2.0, 8.0, 2.0, 8.0, 8.0], [12.0, 12.0, 18.0, 12.0, 18.0, 18.0]]
    box = (0.0, 0.0, 20.0, 20.0)
    crop = rasterize(parts, box, 20, 20, 40)
    assert crop[6, 14]
    assert crop[26, 34]
    assert not crop[20, 20]
    full = decode_mask(parts, 20, 20)
    flipped = crop_masks(full[None, :, ::-1], np.array([[1.0, 0, 20, 20]]), 28)
    straight = crop_masks(full[None], np.array([[0.0, 0, 19, 20]]), 28)
    np.testing.assert_array_equal(flipped, straight[:, :, ::-1])


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [4, 6], "counts": [24]}, "of size .4, 6., the image .4, 5."),
        ({"size": [4, 5], "counts": [7, 3]}, "runs add up to 10, not 20"),
        ({"size": [4, 5]}, "counts must be a string or a list"),
    ],
)
def test_bad_rle(rle, message):
    with pytest.raises(ValueError, match=message):
        decode_rle(rle, 4, 5)


def test_uncompressed_rle():
    mask = decode_rle({"size": [4, 5], "counts": [4, 8, 8]}, 4, 5)
    np.testing.assert_array_equal(mask, np.repeat([[0, 1, 1, 0, 0]], 4, axis=0))


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_packing_loses_nothing(size, seed):
    mask = np.random.default_rng(seed).integers(0, 2, (size, size), dtype=np.uint8)
    packed = pack_mask(mask)
    assert len(packed) == -(-size * size // 8)
    np.testing.assert_array_equal(unpack_mask(packed, size), mask)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_rle_keeps_the_mask(seed):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 2, rng.integers(1, 20, 2), np.uint8)
    np.testing.assert_array_equal(decode_mask(encode_mask(mask), *mask.shape), mask)


def test_broken_masks_are_the_rles_that_cannot_be_decoded():
    segmentations = (
        encode_mask(np.ones((2, 3), np.uint8)),
        {"size": [2, 3], "counts": [5]},
        [[0.0, 0.0, 2.0, 0.0, 2.0, 2.0]],
        None,
        {"size": [3, 2], "counts": [6]},
    )
    instances = tuple(Instance((0, 0, 2, 2), 0, segmentation) for segmentation in segmentations)
    broken = broken_masks(Record(1, "a.png", 2, 3, instances))
    assert list(broken) == [1, 4]
    assert "runs add up to 5, not 6" in broken[1]
    assert "of size [3, 2], the image [2, 3]" in broken[4]


@pytest.mark.parametrize("far", [1e4, 1e6, 1e9, 1e15])
def test_polygons_that_reach_far_away(far):
    """What lies far away takes neither time nor memory, nor changes what lies in the image."""
    band = [-far, 4.0, far, 4.0, far, 9.0, -far, 9.0]
    np.testing.assert_array_equal(np.flatnonzero(decode_mask([band], 20, 30).all(1)), range(4, 9))
    assert not decode_mask([band], 20, 30)[[3, 9]].any()
    half = [0.0, -far, 15.0, -far, 15.0, far, 0.0, far]
    np.testing.assert_array_equal(np.flatnonzero(decode_mask([half], 20, 30).all(0)), range(15))
    assert not decode_mask([[far, far, 2 * far, far, 2 * far, 2 * far]], 20, 30).any()
    # A narrow box scales the polygon up.
    assert rasterize([band], (0.0, 4.0, 1 / far, 9.0), 20, 30, 28).all()


def test_polygons_that_are_cut_off_have_the_pixels_of_whole_ones():
    far = [3.0, 2.0, 40_000.0, 9_000.0, 9_000.0, 40_000.0]
    whole = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([far], 20, 30)))
    assert 100 < whole.sum() < 500
    np.testing.assert_array_equal(decode_mask([far], 20, 30), whole)


@pytest.mark.parametrize("runs", [[200, 100], [0, 300, 299], [0, 600, 1], [100, 2**31, 400]])
def test_runs_that_do_not_add_up(runs):
    """Of pixels behind the last run pycocotools gives what was in memory."""
    compressed = coco_mask.frPyObjects({"size": [20, 30], "counts": runs}, 20, 30)
    with pytest.raises(ValueError, match="its runs add up to -?[0-9]+, not 600"):
        decode_rle({"size": [20, 30], "counts": compressed["counts"].decode()}, 20, 30)
