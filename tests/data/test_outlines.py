import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.outlines import (
    ellipse_polygon,
    join_outlines,
    polygon_area,
    rectangle_polygon,
    trace_outlines,
)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.6, 0.85]))
@settings(max_examples=200, deadline=None)
def test_outlines_filled_again_are_the_mask(seed, share):
    rng = np.random.default_rng(seed)
    mask = (rng.random(rng.integers(1, 14, 2)) < share).astype(np.uint8)
    outlines = trace_outlines(mask)
    filled = decode_mask(outlines, *mask.shape) if outlines else np.zeros_like(mask)
    np.testing.assert_array_equal(filled, mask)
    assert len(outlines) == cv2.connectedComponents(mask, connectivity=4)[0] - 1
    assert sum(map(polygon_area, outlines)) == mask.sum()
    assert all(value == int(value) for outline in outlines for value in outline)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.6, 0.85]))
@settings(max_examples=200, deadline=None)
def test_one_polygon_holds_parts_and_holes(seed, share):
    rng = np.random.default_rng(seed)
    mask = (rng.random(rng.integers(1, 14, 2)) < share).astype(np.uint8)
    mask[tuple(rng.integers(0, mask.shape))] = 1
    joined = join_outlines(trace_outlines(mask))
    np.testing.assert_array_equal(decode_mask([joined], *mask.shape), mask)
    assert polygon_area(joined) == mask.sum()


SIDES = st.floats(0.5, 50)


@given(SIDES, SIDES, st.floats(-math.pi, math.pi))
@settings(max_examples=50, deadline=None)
def test_points_of_an_ellipse(width, height, angle):
    polygon = ellipse_polygon((3.0, -4.0), (width, height), angle)
    assert polygon_area(polygon) == pytest.approx(math.pi * width * height, rel=0.0014)
    points = np.reshape(polygon, (-1, 2)) - (3.0, -4.0)
    along = points @ (math.cos(angle), math.sin(angle)) / width
    across = points @ (-math.sin(angle), math.cos(angle)) / height
    np.testing.assert_allclose(along**2 + across**2, 1)


@given(SIDES, SIDES)
def test_area_of_a_rectangle_and_of_its_half(width, height):
    corners = rectangle_polygon(-2.0, 1.0, width - 2.0, height + 1.0)
    assert polygon_area(corners) == pytest.approx(width * height)
    assert polygon_area(corners[:6]) == pytest.approx(width * height / 2)
    assert polygon_area(corners[::-1]) == pytest.approx(width * height)


def test_an_empty_ellipse_is_refused():
    with pytest.raises(ValueError, match=r"a circle or ellipse of radius 0.0 is empty"):
        ellipse_polygon((1, 1), (2.0, 0.0))
