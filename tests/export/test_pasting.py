"""Masks pasted within a graph against those of `ops.masks`."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_maskrcnn.export.pasting import paste_masks
from keras_maskrcnn.ops import masks as reference

paste = tf.function(paste_masks, reduce_retracing=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40))
def test_as_the_numpy_version(seed, height, width):
    rng = np.random.default_rng(seed)
    masks = rng.uniform(0, 1, (2, 3, 14, 14)).astype(np.float32)
    corners = rng.uniform(-5, 45, (2, 3, 4)).astype(np.float32)
    corners = np.round(corners * 2) / 2  # halves put pixel centres on the border
    boxes = np.concatenate(
        [np.minimum(corners[..., :2], corners[..., 2:]), np.maximum(*np.split(corners, 2, -1))], -1
    )
    ours = paste(masks, boxes, height, width).numpy()
    assert ours.shape == (2, 3, height, width)
    theirs = [
        reference.paste_masks(*image, height, width) for image in zip(masks, boxes, strict=True)
    ]
    # The two sum in different orders, so a value of nearly a half may round to either side.
    assert (ours != theirs).sum() <= 1


def test_a_full_mask_fills_its_box():
    ours = paste(tf.ones((1, 1, 28, 28)), tf.constant([[[1.0, 0.0, 3.0, 1.0]]]), 2, 4)
    assert ours.numpy().tolist() == [[[[0, 1, 1, 0], [0, 0, 0, 0]]]]


def test_no_box_no_mask():
    boxes = tf.constant([[[0.0, 0, 0, 0], [5.0, 5, 5, 9], [20.0, 20, 30, 30]]])
    assert not paste(tf.ones((1, 3, 14, 14)), boxes, 10, 12).numpy().any()
