"""What a batch must be, and how its pixels reach the backbone."""

import re

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.batch import (
    check_batch,
    check_inputs,
    check_targets,
    check_training_batch,
    normalize_and_pad,
    of_stem_channels,
    stem_pixels,
)
from keras_maskrcnn.config import MaskRCNNConfig

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
    boxes, classes, masks = check_targets(targets(), 28)
    assert (boxes.dtype, classes.dtype, masks.shape[1:]) == (tf.float32, tf.int32, (3, 28, 28))
    assert check_targets(without(targets(), "masks"), None)[2] is None


@pytest.mark.parametrize("name", ["boxes", "classes", "masks"])
def test_missing_targets_are_named(name):
    with pytest.raises(ValueError, match=f"The targets have no '{name}'"):
        check_targets(without(targets(), name), 28)


def test_targets_may_be_lists():
    boxes, classes, _ = check_targets({"boxes": [[[0, 1, 2, 3]]], "classes": [[1]]}, None)
    assert (boxes.dtype, boxes.shape, classes.shape) == (tf.float32, (1, 1, 4), (1, 1))


def test_targets_that_are_no_dict_are_refused():
    with pytest.raises(ValueError, match="The targets have no 'boxes'"):
        check_targets(None, 28)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((2, 4))}, r"boxes must be \(B, N, 4\); got shape \(2, 4\)"),
        ({"boxes": np.zeros((2, 3, 5))}, r"boxes must be \(B, N, 4\); got shape \(2, 3, 5\)"),
        ({"boxes": [[0.0, 1.0]]}, r"boxes must be \(B, N, 4\); got shape \(1, 2\)"),
        ({"classes": np.zeros((2, 3, 1))}, r"classes must be \(B, N\); got shape \(2, 3, 1\)"),
        (
            {"masks": np.zeros((2, 100, 100))},
            r"masks must be \(B, N, 28, 28\), each cut out in its box; got shape \(2, 100, 100\)",
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
                "masks": np.zeros((2, 0, 28, 28)),
            },
            "an image without an object has one of class -1",
        ),
    ],
)
def test_targets_of_a_wrong_shape_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        check_targets(targets(**changes), 28)


def test_pixels_are_normalized_and_zero_wherever_there_is_no_image():
    mean, std = (100.0, 90.0, 80.0), (2.0, 4.0, 5.0)
    padded = normalize_and_pad(IMAGES, tf.constant([[5, 6], [3, 2]]), mean, std, 8).numpy()
    expected = np.zeros((2, 8, 8, 3), np.float32)
    expected[0, :5, :6] = expected[1, :3, :2] = [0.0, 2.5, 4.0]
    np.testing.assert_allclose(padded, expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 16])
def test_the_stem_sees_all_channels_on_the_scale_of_the_mean(channels):
    config = MaskRCNNConfig(channels=channels, pixel_range=(-1, 3))
    pixels = np.random.default_rng(0).uniform(-1, 3, (1, 2, 2, channels)).astype(np.float32)
    expected = [(pixels[..., i % channels] + 1) / 4 * 255 for i in range(max(channels, 3))]
    seen = stem_pixels(tf.constant(pixels), config)
    np.testing.assert_allclose(seen, np.stack(expected, axis=-1), rtol=1e-5)
    mean = of_stem_channels(config.pixel_mean, config)
    assert mean == [config.pixel_mean[i % 3] for i in range(max(channels, 3))]


def test_each_channel_may_have_a_mean_of_its_own():
    config = MaskRCNNConfig(channels=2, pixel_mean=(1, 2))
    assert of_stem_channels(config.pixel_mean, config) == [1, 2, 1]


def test_rgb_reaches_the_stem_as_it_is():
    images = tf.constant(IMAGES)
    assert stem_pixels(images, MaskRCNNConfig()) is images


DEEP = MaskRCNNConfig(channels=4, pixel_range=(0, 65535))
KELVIN = MaskRCNNConfig(channels=1, pixel_range=(270, 320))


def test_pixels_of_other_ranges():
    deep = np.full((1, 2, 2, 4), 65535, np.uint16)
    np.testing.assert_array_equal(check_batch(deep, DEEP)[0], deep)
    dark = np.full((1, 2, 2, 4), 0.5, np.float32)
    np.testing.assert_array_equal(check_batch(dark, DEEP)[0], dark)
    kelvin = {"images": np.zeros((1, 3, 3, 1)), "image_sizes": [[2, 3]]}
    kelvin["images"][:, :2] = 300  # padding need not be a temperature
    np.testing.assert_array_equal(check_batch(kelvin, KELVIN)[0], kelvin["images"])


@pytest.mark.parametrize(
    ("images", "config", "message"),
    [
        (IMAGES, DEEP, r"images must be \(B, H, W, 4\), 4 channels, 0..65535; got shape"),
        (IMAGES[..., :1], KELVIN, "must be 1 channel, 270..320; got float32 pixels from 100.0"),
        (IMAGES[..., :1].astype(int), KELVIN, "got int64 pixels from 100.0 to 100.0. pixel_range"),
        (IMAGES[..., :1] > 0, KELVIN, "images must be numbers 270..320; got bool"),
    ],
)
def test_pixels_beyond_a_range_are_named(images, config, message):
    with pytest.raises(ValueError, match=message):
        check_batch(images, config)


@pytest.mark.parametrize(("side", "padded"), [(31, 32), (32, 32), (33, 64)])
def test_sides_become_multiples_of_the_divisor(side, padded):
    images = tf.zeros((1, side, 2 * side, 3))
    sizes = tf.constant([[side, 2 * side]])
    shape = normalize_and_pad(images, sizes, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 32).shape
    assert shape == (1, padded, -(-2 * side // 32) * 32, 3)


@pytest.mark.parametrize("shape", [(60, 80), (96, 96)])
def test_full_size_masks_are_sent_to_crop_masks(shape):
    message = (
        f"masks must be (B, N, 28, 28), each cut out in its box; got shape (2, 3, {shape[0]}, "
        f"{shape[1]}). Of full-size masks, km.data.crop_masks(masks, boxes, size=28) makes them."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        check_targets(targets(masks=np.zeros((2, 3, *shape), np.uint8)), 28)


def changed(batch, part, value, index=...):
    """A batch (x, y) of which one part, or a place in it, has another value."""
    x, y = ({name: np.array(array) for name, array in side.items()} for side in batch)
    side = x if part in x else y
    if index is ...:
        side[part] = value
    else:
        side[part][index] = value
    return x, y


PIXELS = r"images must be RGB 0..255; got pixels from {} to {}\. Multiply .* divide .* by 257"
BOX = r"boxes must be x0, y0, x1, y1 with x0 < x1 and y0 < y1; got \[\[.*\]\] at \[image, row\] "
WRONG = {
    "classes from 1": (
        ("classes", 3, (0, 1)),
        r"classes must be 0 to 2 \(num_classes=3\), or -1 where padded; got \[3\] at "
        r"\[image, row\] \[\[0,? 1\]\]\. Subtract 1",
    ),
    "class -2": (("classes", -2, (1, 1)), r"classes must be .*; got \[-2\] at .* \[\[1,? 1\]\]"),
    "NaN box": (("boxes", np.nan, (0, 1, 2)), BOX + r"\[\[0,? 1\]\]"),
    "infinite box": (("boxes", np.inf, (1, 0, 2)), BOX + r"\[\[1,? 0\]\]"),
    "inverted box": (("boxes", [40, 6, 4, 50], (0, 0)), BOX + r"\[\[0,? 0\]\]"),
    "box without height": (("boxes", [4, 6, 40, 6], (0, 0)), BOX + r"\[\[0,? 0\]\]"),
    "box outside": (
        ("boxes", [82, 6, 90, 40], (1, 0)),
        r"boxes must lie in their image, .* got \[\[.*\]\] at \[image, row\] \[\[1,? 0\]\]",
    ),
    "shares as boxes": (
        ("boxes", np.tile([0.1, 0.1, 0.5, 1], (2, 2, 1)).astype(np.float32)),
        "boxes must be in pixels; all of this batch lie between 0 and 1",
    ),
    "masks of 255": (("masks", 255, (1, 0, 3, 3)), "masks must be 0 or 1; got 255"),
    "NaN pixel": (("images", np.nan, (1, 2, 3, 0)), "images has a pixel that is NaN or infinite"),
    "pixels of 0..1": (
        ("images", np.linspace(0, 1, 2 * 64 * 96 * 3, dtype=np.float32).reshape(2, 64, 96, 3)),
        PIXELS.format(r"0(\.0)?", r"1(\.0)?"),
    ),
    "normalized pixels": (
        ("images", np.linspace(-2.1, 2.6, 36864, dtype=np.float32).reshape(2, 64, 96, 3)),
        PIXELS.format(r"-2\.\d+", r"2\.\d+"),
    ),
    "16 bits": (
        ("images", np.full((2, 64, 96, 3), 61440, np.uint16)),
        PIXELS.format(r"61440(\.0)?", r"61440(\.0)?"),
    ),
    "16 bits, dark": (
        ("images", np.full((2, 64, 96, 3), 300, np.uint16)),
        PIXELS.format(r"300(\.0)?", r"300(\.0)?"),
    ),
    "16 bits as floats": (
        ("images", np.full((2, 64, 96, 3), 61440.0, np.float32)),
        PIXELS.format(r"61440(\.0)?", r"61440(\.0)?"),
    ),
    "width before height": (
        ("image_sizes", [[96, 64], [80, 48]]),
        r"image_sizes must be heights and widths from 1 to those of images, \[64,? 96\]; got",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_values_are_named_where_they_are_known(batch, small_config, kind):
    change, message = WRONG[kind]
    with pytest.raises(ValueError, match=message):
        check_training_batch(*changed(batch, *change), small_config)


@pytest.fixture(scope="module")
def step(small_config):
    """Parts of a batch, checked in a graph; once traced, which takes a second, for all tests."""

    @tf.function
    def step(x, y):
        images, image_sizes, boxes, classes, masks = check_training_batch(x, y, small_config)
        tf.gather(tf.zeros(4), classes + 1)  # fails too, and must not be the first to do so
        return images, image_sizes, boxes, classes, masks

    return step


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_values_are_named_when_a_step_runs(batch, step, kind):
    change, message = WRONG[kind]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        step(*changed(batch, *change))


def test_full_size_masks_of_unknown_shape_are_named_when_a_step_runs(batch, small_config):
    """As a generator gives them."""
    x, y = wrong = changed(batch, "masks", np.zeros((2, 2, 64, 64), np.uint8))
    known = {name: tf.TensorSpec(array.shape, array.dtype) for name, array in (x | y).items()}
    specs = {name: known[name] for name in x}, {name: known[name] for name in y}
    specs[1]["masks"] = tf.TensorSpec((2, 2, None, None), tf.uint8)
    step = tf.function(lambda x, y: check_training_batch(x, y, small_config), input_signature=specs)
    message = r"masks must be \(B, N, 28, 28\); got \[64,? 64\] at the end of the shape\. Of full-"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        step(*wrong)


RIGHT = {
    "as it is": ("classes", [[0, 2], [1, -1]]),
    "nothing in the batch": ("classes", [[-1, -1], [-1, -1]]),
    "anything where padded": ("boxes", np.nan, (1, 1)),
    "a box that reaches out": ("boxes", [-3, -2, 99, 70], (0, 0)),
    "black": ("images", np.zeros((2, 64, 96, 3), np.float32)),
    "black with noise": ("images", np.tile([0, 1, 0], (2, 64, 96, 1)).astype(np.float32)),
    "brightened": ("images", np.full((2, 64, 96, 3), 400.5, np.float32)),
    "bytes": ("images", np.full((2, 64, 96, 3), 200, np.uint8)),
    "masks of bool": ("masks", np.ones((2, 2, 28, 28), bool)),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_what_can_be_meant_passes(batch, small_config, step, kind):
    x, y = changed(batch, *RIGHT[kind])
    for parts in (check_training_batch(x, y, small_config), step(x, y)):
        expected = (x["images"], x["image_sizes"], y["boxes"], y["classes"], y["masks"])
        for part, given in zip(parts, expected, strict=True):
            np.testing.assert_array_equal(part, given)


def test_an_inference_graph_checks_nothing(small_config):
    graph = tf.function(
        lambda images: check_inputs(images), input_signature=[tf.TensorSpec((None, None, None, 3))]
    ).get_concrete_function()
    assert not [op.type for op in graph.graph.get_operations() if op.type in ("Assert", "If")]
