"""What a batch must be, and how its pixels reach the backbone."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.batch import check_inputs, check_targets, normalize_and_pad

IMAGES = np.full((2, 5, 6, 3), 100.0, np.float32)


def targets(**changes):
    return {
        "boxes": np.zeros((2, 3, 4), np.float32),
        "classes": np.zeros((2, 3), np.int64),
        "masks": np.zeros((2, 3, 28, 28), np.uint8),
    } | changes


def without(y, name):
    return {key: value for key, value in y.items() if key != name}


def test_images_alone_are_all_valid():
    for x in (IMAGES, {"images": IMAGES}):
        images, sizes = check_inputs(x)
        np.testing.assert_array_equal(images, IMAGES)
        np.testing.assert_array_equal(sizes, [[5, 6], [5, 6]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.float64])
def test_pixels_of_any_number_type_become_float32(dtype):
    images, sizes = check_inputs({"images": IMAGES.astype(dtype), "image_sizes": [[5, 6], [4, 3]]})
    assert (images.dtype, sizes.dtype) == (tf.float32, tf.int32)
    np.testing.assert_array_equal(images, IMAGES)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"image": IMAGES}, r"no 'images'; it has \['image'\]"),
        (IMAGES[0], r"must be \(B, H, W, 3\).*\(5, 6, 3\)"),
        (IMAGES[..., :1], r"must be \(B, H, W, 3\).*\(2, 5, 6, 1\)"),
        (IMAGES > 0, "must be numbers 0..255; got bool"),
        (IMAGES.astype(np.complex64), "must be numbers 0..255; got complex64"),
        (np.full((1, 2, 2, 3), "a"), "must be numbers 0..255; got string"),
        ({"images": IMAGES, "image_sizes": [5, 6]}, r"image_sizes must be \(B, 2\).*\(2,\)"),
        ({"images": IMAGES, "image_sizes": [[5], [6]]}, r"image_sizes must be \(B, 2\).*\(2, 1\)"),
        (
            {"images": IMAGES, "image_sizes": [[5, 6]]},
            "image_sizes has 1 rows for 2 images",
        ),
    ],
)
def test_bad_inputs_are_named(x, message):
    with pytest.raises(ValueError, match=message):
        check_inputs(x)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_no_number_is_located(value):
    images = IMAGES.copy()
    images[1, 2, 3, 0] = value
    with pytest.raises(ValueError, match=r"NaN or infinite, the first at \[1, 2, 3, 0\]"):
        check_inputs(images)


def test_inputs_of_unknown_size_pass_in_a_graph():
    traced = tf.function(
        lambda images: check_inputs(images)[1],
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
    )
    np.testing.assert_array_equal(traced(IMAGES.astype(np.uint8)), [[5, 6], [5, 6]])


def test_targets_come_back_in_their_types():
    boxes, classes, masks = check_targets(targets(), mask=True)
    assert (boxes.dtype, classes.dtype, masks.shape[1:]) == (tf.float32, tf.int32, (3, 28, 28))
    assert check_targets(without(targets(), "masks"), mask=False)[2] is None


@pytest.mark.parametrize("name", ["boxes", "classes", "masks"])
def test_missing_targets_are_named(name):
    with pytest.raises(ValueError, match=f"The targets have no '{name}'"):
        check_targets(without(targets(), name), mask=True)


def test_targets_may_be_lists():
    boxes, classes, _ = check_targets({"boxes": [[[0, 1, 2, 3]]], "classes": [[1]]}, mask=False)
    assert (boxes.dtype, boxes.shape, classes.shape) == (tf.float32, (1, 1, 4), (1, 1))


def test_targets_that_are_no_dict_are_refused():
    with pytest.raises(ValueError, match="The targets have no 'boxes'"):
        check_targets(None, mask=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((2, 4))}, r"boxes must be \(B, N, 4\); got shape \(2, 4\)"),
        ({"boxes": np.zeros((2, 3, 5))}, r"boxes must be \(B, N, 4\); got shape \(2, 3, 5\)"),
        ({"boxes": [[0.0, 1.0]]}, r"boxes must be \(B, N, 4\); got shape \(1, 2\)"),
        ({"classes": np.zeros((2, 3, 1))}, r"classes must be \(B, N\); got shape \(2, 3, 1\)"),
        (
            {"masks": np.zeros((2, 100, 100))},
            r"masks must be \(B, N, M, M\); got shape \(2, 100, 100\)",
        ),
        (
            {"classes": np.zeros((2, 4))},
            r"boxes and classes must have the same B and N; got shapes \(2, 3, 4\) and \(2, 4\)",
        ),
        ({"masks": np.zeros((1, 3, 28, 28))}, "boxes and masks must have the same B and N"),
        (
            {
                "boxes": np.zeros((2, 0, 4)),
                "classes": np.zeros((2, 0)),
                "masks": np.zeros((2, 0, 8, 8)),
            },
            "an image without an object has one of class -1",
        ),
    ],
)
def test_targets_of_a_wrong_shape_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        check_targets(targets(**changes), mask=True)


def test_pixels_are_normalized_and_zero_wherever_there_is_no_image():
    mean, std = (100.0, 90.0, 80.0), (2.0, 4.0, 5.0)
    padded = normalize_and_pad(IMAGES, tf.constant([[5, 6], [3, 2]]), mean, std, 8).numpy()
    expected = np.zeros((2, 8, 8, 3), np.float32)
    expected[0, :5, :6] = expected[1, :3, :2] = [0.0, 2.5, 4.0]
    np.testing.assert_allclose(padded, expected, atol=1e-6)


@pytest.mark.parametrize(("side", "padded"), [(31, 32), (32, 32), (33, 64)])
def test_sides_become_multiples_of_the_divisor(side, padded):
    images = tf.zeros((1, side, 2 * side, 3))
    sizes = tf.constant([[side, 2 * side]])
    shape = normalize_and_pad(images, sizes, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 32).shape
    assert shape == (1, padded, -(-2 * side // 32) * 32, 3)
