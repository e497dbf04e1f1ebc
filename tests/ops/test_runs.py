"""Masks as runs, against full-size masks and pycocotools."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from keras_maskrcnn.ops import runs

HEIGHT, WIDTH = 13, 17


def full(mask_runs):
    canvas = np.zeros((HEIGHT, WIDTH), bool)
    runs.paste_runs(mask_runs, canvas)
    return canvas


@pytest.fixture(params=[0.0, 0.1, 0.5, 0.9, 1.0])
def masks(request):
    """Two masks of which this share is set, and their runs."""
    rng = np.random.default_rng(3)
    masks = rng.uniform(size=(2, HEIGHT, WIDTH)) < request.param
    return masks, [runs.mask_runs(mask) for mask in masks]


def test_runs_are_the_mask(masks):
    for mask, of_mask in zip(*masks, strict=True):
        np.testing.assert_array_equal(full(of_mask), mask)
        assert runs.count_pixels(of_mask) == mask.sum()
        part = mask[2:7, 3:9]
        np.testing.assert_array_equal(
            runs.clip_runs(of_mask, (3, 2, 9, 7)), runs.mask_runs(part, (2, 3))
        )
        canvas = np.zeros(part.shape, bool)
        runs.paste_runs(runs.mask_runs(part, (2, 3)), canvas, (2, 3))
        np.testing.assert_array_equal(canvas, part)


def test_two_masks(masks):
    (one, other), (one_runs, other_runs) = masks
    joined = runs.join_runs([one_runs, other_runs])
    np.testing.assert_array_equal(joined, runs.mask_runs(one | other))
    assert runs.common_pixels(one_runs, other_runs) == (one & other).sum()


def test_the_rle_is_that_of_the_full_mask(masks):
    for mask, of_mask in zip(*masks, strict=True):
        rle = runs.runs_rle(of_mask, HEIGHT, WIDTH)
        assert (
            rle["counts"].encode() == coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]
        )


def test_an_image_larger_than_pycocotools_can_count():
    with pytest.raises(ValueError, match="70000x70000"):
        runs.runs_rle(runs.mask_runs(np.ones((2, 2))), 70_000, 70_000)
    far = runs.mask_runs(np.ones((2, 2)), (100_000, 100_000))
    assert runs.common_pixels(far, far) == 4
