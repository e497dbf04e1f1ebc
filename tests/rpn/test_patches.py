"""Patches are those of each level padded with zeros."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.rpn.patches import cut_out_patches


@pytest.mark.parametrize("size", [1, 3, 5])
def test_every_cell_of_every_level(size):
    rng = np.random.default_rng(0)
    levels = [rng.normal(size=(2, *shape, 4)).astype(np.float32) for shape in ((4, 6), (2, 3))]
    margin = size // 2
    expected, known = [], []
    for image in range(2):
        for level in levels:
            around = [[margin] * 2] * 2
            padded = np.pad(level[image], [*around, [0, 0]])
            exists = np.pad(np.ones(level.shape[1:3], bool), around)
            for y, x in np.ndindex(level.shape[1:3]):
                expected.append(padded[y : y + size, x : x + size])
                known.append(exists[y : y + size, x : x + size, None])
    cells = np.tile(np.arange(4 * 6 + 2 * 3, dtype=np.int32), (2, 1))
    patches, inside, _ = cut_out_patches([tf.constant(level) for level in levels], cells, size)
    np.testing.assert_array_equal(patches, expected)
    np.testing.assert_array_equal(inside, known)
