import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.tracing import encode_mask, trace_outlines


def with_holes_closed(mask):
    """Each part with the background filled that no path along edges joins to the outside."""
    number, parts = cv2.connectedComponents(mask, connectivity=4)
    closed = np.zeros(mask.shape, bool)
    for part in range(1, number):
        outside = np.pad(parts != part, 1, constant_values=True).astype(np.uint8)
        _, regions = cv2.connectedComponents(outside, connectivity=4)
        closed |= (regions != regions[0, 0])[1:-1, 1:-1]
    return closed


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.6, 0.85]))
@settings(max_examples=200, deadline=None)
def test_outlines_filled_again_are_the_mask(seed, share):
    rng = np.random.default_rng(seed)
    mask = (rng.random(rng.integers(1, 14, 2)) < share).astype(np.uint8)
    outlines = trace_outlines(mask)
    filled = decode_mask(outlines, *mask.shape) if outlines else np.zeros_like(mask)
    np.testing.assert_array_equal(filled > 0, with_holes_closed(mask))
    assert all(value == int(value) for outline in outlines for value in outline)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_rle_keeps_the_mask(seed):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 2, rng.integers(1, 20, 2), np.uint8)
    np.testing.assert_array_equal(decode_mask(encode_mask(mask), *mask.shape), mask)
