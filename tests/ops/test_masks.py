"""Pasting against its definition, written out pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_maskrcnn.ops.masks import paste_mask, paste_masks

HEIGHT, WIDTH = 11, 14


def values_by_definition(mask, box, height, width):
    """The mask stretched over the box at each pixel's centre, zero outside: (height, width)."""
    cells = len(mask)
    padded = np.pad(mask.astype(np.float64), 1)
    x0, y0, x1, y1 = (float(value) for value in box)
    values = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            y = (row + 0.5 - y0) / (y1 - y0) * cells - 0.5
            x = (column + 0.5 - x0) / (x1 - x0) * cells - 0.5
            if not (-1 < y < cells and -1 < x < cells):
                continue
            i, j = int(np.floor(y)), int(np.floor(x))
            down, right = y - i, x - j
            corners = padded[i + 1 : i + 3, j + 1 : j + 3]
            values[row, column] = np.array([1 - down, down]) @ corners @ [1 - right, right]
    return values


def assert_as_defined(masks, boxes):
    """Equal wherever float32 can tell which side of 0.5 a value is on."""
    pasted = paste_masks(masks, boxes, HEIGHT, WIDTH)
    for mask, box, result in zip(masks, boxes, pasted, strict=True):
        values = values_by_definition(mask, box, HEIGHT, WIDTH)
        clear = np.abs(values - 0.5) > 1e-4
        np.testing.assert_array_equal(result[clear], (values >= 0.5)[clear])


def boxes_anywhere():
    """Strategy: a box from 1/100 of a pixel to 3000 pixels wide, in the image or not."""
    starts = hnp.arrays(np.float32, 2, elements=st.floats(-1500, 20, width=32))
    near = hnp.arrays(np.float32, 2, elements=st.floats(-8, 16, width=32))
    sides = hnp.arrays(np.float32, 2, elements=st.floats(0.0625, 3000, width=32))
    short = hnp.arrays(np.float32, 2, elements=st.floats(0.0625, 20, width=32))
    pair = st.one_of(st.tuples(near, short), st.tuples(starts, sides))
    return pair.map(lambda p: np.concatenate([p[0], p[0] + p[1]]))


@settings(max_examples=60, deadline=None)
@given(boxes_anywhere(), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_as_defined(box, cells, seed):
    rng = np.random.default_rng(seed)
    masks = rng.uniform(0, 1, (2, cells, cells)).astype(np.float32)
    masks[1] = masks[1] > 0.3  # steps are where a wrong weight shows
    assert_as_defined(masks, np.stack([box, box]))


def test_full_mask_fills_its_box():
    """A pixel belongs to a box of ones from edge to edge, the edges counted in."""
    boxes = np.array([[2, 3, 6, 8], [2.5, 3.5, 5.5, 7.5], [-5, -5, 40, 40], [1.6, 1.6, 2.4, 2.4]])
    pasted = paste_masks(np.ones((4, 28, 28)), boxes, HEIGHT, WIDTH)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for mask, (x0, y0, x1, y1) in zip(pasted[:3:2], boxes[:3:2], strict=True):
        np.testing.assert_array_equal(mask, (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))
    # On the edge itself a cell weighs one half, in a corner of the box a quarter.
    assert pasted[1].sum() == 4 * 5 - 4
    assert not pasted[3].any()


def test_nothing_outside_the_box():
    rng = np.random.default_rng(0)
    box = np.array([3.3, 2.2, 9.4, 8.1])
    for cells in (1, 2, 28):
        pasted = paste_masks(rng.uniform(0, 1, (1, cells, cells)), box[None], HEIGHT, WIDTH)[0]
        rows, columns = np.nonzero(pasted)
        assert len(rows)
        assert (columns + 0.5 >= box[0]).all()
        assert (columns + 0.5 <= box[2]).all()
        assert (rows + 0.5 >= box[1]).all()
        assert (rows + 0.5 <= box[3]).all()


@pytest.mark.parametrize(
    "box",
    [
        (4, 4, 4, 8),
        (8, 8, 4, 4),
        (-9, -9, -1, -1),
        (20, 2, 30, 8),
        (2, 500, 4, 600),
        (np.nan, 0, 5, 5),
        (-np.inf, 0, np.inf, 5),
        (1e30, 1e30, 2e30, 2e30),
        (4, 4, 4 + 1e-30, 5),
    ],
)
def test_boxes_that_cover_nothing(box):
    pasted = paste_masks(np.ones((1, 28, 28)), np.array([box]), HEIGHT, WIDTH)
    assert pasted.shape == (1, HEIGHT, WIDTH)
    assert not pasted.any()


def test_part_lies_where_it_says():
    mask = np.random.default_rng(1).uniform(0, 1, (28, 28))
    box = np.array([3.2, -2.0, 9.9, 7.7])
    part, (top, left) = paste_mask(mask, box, HEIGHT, WIDTH)
    assert (top, left) == (0, 3)
    assert part.shape == (8, 7)
    full = paste_masks(mask[None], box[None], HEIGHT, WIDTH)[0]
    np.testing.assert_array_equal(full[:8, 3:10], part)
    assert full.sum() == part.sum() > 0


def test_no_masks():
    pasted = paste_masks(np.zeros((0, 28, 28)), np.zeros((0, 4)), 5, 6)
    assert pasted.shape == (0, 5, 6)
    assert pasted.dtype == bool
