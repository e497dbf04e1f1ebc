import cv2
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.data.views import View, whole_number

BOXES = np.array([[3, 4, 20, 30], [10.5, 0, 60, 41.25]], np.float32)


@pytest.fixture(scope="module")
def image():
    return tf.constant(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def test_views_of_views_are_one_view(image):
    crop, flip = (20, 30, 0.4, 0.7), tf.constant(True)
    cropped = View.of(image).crop(*crop)
    seen = cropped.image(image)
    np.testing.assert_array_equal(seen, image[11:31, 24:54])  # 0.4 of 0..28 and 0.7 of 0..34
    both = cropped.flip(flip)
    np.testing.assert_array_equal(both.image(image), seen[:, ::-1])
    np.testing.assert_allclose(
        both.boxes(BOXES), View.of(seen).flip(flip).boxes(cropped.boxes(BOXES)), atol=1e-4
    )


def test_resizing_a_part_is_a_part_of_the_resized(image):
    for side in (24, 96, 144):
        resized = View.of(image).resize(side, 1000)
        whole = resized.image(image).numpy()
        part = resized.crop(12, 16, 0.0, 0.999).image(image)
        np.testing.assert_allclose(part, whole[:12, -16:], atol=0.01)
        mirrored = resized.flip(tf.constant(True)).crop(12, 16, 0.0, 0.999).image(image)
        np.testing.assert_allclose(mirrored, whole[:12, :16][:, ::-1], atol=0.01)


def test_rotation_of_a_box_is_around_its_corners(image):
    view = View.of(image).rotate(tf.constant(30.0))
    matrix = cv2.getRotationMatrix2D((32, 24), 30, 1)
    height, width = view.size.numpy()
    matrix[:, 2] += [width / 2 - 32, height / 2 - 24]
    for box, found in zip(BOXES, view.boxes(BOXES).numpy(), strict=True):
        corners = np.array([[x, y, 1] for x in box[[0, 2]] for y in box[[1, 3]]]) @ matrix.T
        expected = [*corners.min(axis=0), *corners.max(axis=0)]
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_rotation_samples_as_opencv_does(image):
    smooth = cv2.GaussianBlur(image.numpy(), (0, 0), 3)
    view = View.of(image).rotate(tf.constant(-25.0))
    matrix = cv2.getRotationMatrix2D((31.5, 23.5), -25, 1)
    height, width = (int(side) for side in view.size)
    matrix[:, 2] += [(width - 64) / 2, (height - 48) / 2]
    expected = cv2.warpAffine(smooth, matrix, (width, height)).astype(float)
    # OpenCV places samples on a 1/32 of a pixel, which shows at the border to black only.
    off = np.abs(view.image(tf.constant(smooth)) - expected)
    assert np.median(off) < 0.5
    assert off.max() < 10


def test_masks_stay_where_they_are_in_a_part_of_their_box(image):
    masks = np.random.default_rng(1).integers(0, 2, (1, 16, 16), dtype=np.uint8)
    box, quarter = np.array([[0, 0, 32, 32]], np.float32), np.array([[16, 0, 32, 16]], np.float32)
    view = View.of(image)
    np.testing.assert_array_equal(view.masks(tf.constant(masks), box, box), masks)
    found = view.masks(tf.constant(masks), box, quarter)
    inner = cv2.resize(masks[0].astype(np.float32), (32, 32))[:16, 16:] >= 0.5
    # At the borders of the box OpenCV repeats the last cell, where here is nothing.
    np.testing.assert_array_equal(found[0, 1:, :-1], inner[1:, :-1])


def test_whole_numbers_are_even():
    draws = tf.linspace(0.0, 0.99999994, 7000)
    numbers, counts = np.unique(whole_number(draws, 640, 646), return_counts=True)
    np.testing.assert_array_equal(numbers, np.arange(640, 647))
    assert np.abs(counts - 1000).max() <= 2
