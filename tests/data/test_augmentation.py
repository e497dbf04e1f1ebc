import json
import math

import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

import keras_maskrcnn as km
from keras_maskrcnn.data.images import resize_image, resized_shape
from keras_maskrcnn.ops.masks import paste_masks

Augmentation = km.data.Augmentation
HEIGHT, WIDTH = 180, 240
ALL = {
    **{"horizontal_flip": 0.5, "rotation": 20, "crop": 0.5},
    **{"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1},
}


def full_masks(height=HEIGHT, width=WIDTH):
    """An ellipse, a triangle, a ring in the corner, a small disc, and the whole image."""
    masks = np.zeros((5, height, width), np.uint8)
    cv2.ellipse(masks[0], (width // 2, height // 2), (width // 3, height // 5), 30, 0, 360, 1, -1)
    corners = [[10, height - 10], [width // 2, 20], [width - 30, height // 2]]
    cv2.fillPoly(masks[1], [np.array(corners)], 1)
    cv2.circle(masks[2], (0, 0), 60, 1, 20)
    cv2.circle(masks[3], (width - 25, 25), 6, 1, -1)
    masks[4] = 1
    return masks


def tight_boxes(masks):
    boxes = [cv2.boundingRect(mask.astype(np.uint8)) for mask in masks]
    return np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32)


def make_element(masks, image=None):
    height, width = masks.shape[1:]
    if image is None:  # where each pixel says where it is
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        image = np.stack([columns, rows, 0 * rows], axis=-1).astype(np.uint8)
    boxes = tight_boxes(masks)
    classes = np.arange(len(masks), dtype=np.int32)
    crops = km.data.crop_masks(masks, boxes)
    return {"image": image, "boxes": boxes, "classes": classes, "masks": crops}


def run(element, seed=(0, 1), **options):
    result = Augmentation(**options)(element, seed)
    return {name: value.numpy() for name, value in result.items()}


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def pasted(result):
    return paste_masks(result["masks"], result["boxes"], *result["image"].shape[:2])


@pytest.fixture(scope="module")
def element():
    return make_element(full_masks())


@pytest.fixture(scope="module")
def noise():
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return make_element(full_masks(), image)


@pytest.fixture(scope="module")
def photos(shared):
    folder = shared / "data/coco_tiny"
    return km.data.CocoDataset(
        folder / "annotations/instances_train2017.json", folder / "train2017"
    )


def test_nothing_asked_nothing_changed(noise):
    result = run(noise)
    for name, value in noise.items():
        np.testing.assert_array_equal(result[name], value, err_msg=name)
        assert result[name].dtype == value.dtype


def test_flip(noise):
    result = run(noise, horizontal_flip=1.0)
    np.testing.assert_array_equal(result["image"], noise["image"][:, ::-1])
    np.testing.assert_array_equal(result["masks"], noise["masks"][:, :, ::-1])
    x0, y0, x1, y1 = noise["boxes"].T
    expected = np.stack([WIDTH - x1, y0, WIDTH - x0, y1], axis=1)
    np.testing.assert_array_equal(result["boxes"], expected)
    again = run(result, horizontal_flip=1.0)
    for name, value in noise.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


def test_flip_has_its_probability(element):
    small = {**element, "image": element["image"][:2, :2]}
    flipped = [run(small, (seed, 0), horizontal_flip=0.3)["image"][0, 0, 0] for seed in range(60)]
    assert 8 < sum(flipped) < 30


def test_twice_the_size(noise):
    result = run(noise, short_side=2 * HEIGHT)
    np.testing.assert_array_equal(result["boxes"], 2 * noise["boxes"])
    np.testing.assert_array_equal(result["masks"], noise["masks"])
    expected = cv2.resize(noise["image"], (2 * WIDTH, 2 * HEIGHT)).astype(int)
    assert np.abs(result["image"] - expected).max() <= 1


@given(
    st.integers(20, 90), st.integers(20, 90), st.integers(10, 100), st.integers(0, 30), st.data()
)
@settings(max_examples=40, deadline=None)
def test_short_side_follows_detectron2(height, width, low, more, data):
    longest = data.draw(st.integers(low + more, 150))
    element = make_element(full_masks()[3:, :height, :width])
    seed = data.draw(st.tuples(*[st.integers(0, 1000)] * 2))
    result = run(element, seed, short_side=(low, low + more), longest_side=longest)
    sizes = {resized_shape(height, width, low + i, longest) for i in range(more + 1)}
    assert result["image"].shape[:2] in sizes


def test_every_short_side_of_the_range_is_drawn(element):
    sides = [
        min(run(element, (seed, 5), short_side=(60, 63))["image"].shape[:2]) for seed in range(60)
    ]
    assert set(sides) == {60, 61, 62, 63}


def test_smaller_is_smoothed():
    stripes = np.zeros((200, 200, 3), np.uint8)
    stripes[:, ::2] = 255
    element = make_element(np.ones((1, 200, 200), np.uint8), stripes)
    for options in ({}, {"rotation": (90, 90)}, {"horizontal_flip": 1.0}):
        inside = run(element, short_side=50, **options)["image"][2:-2, 2:-2]
        assert np.abs(inside - 127.5).max() < 5
    inside = run(element, scale_jitter=(0.5, 0.5), jitter_size=100)["image"][2:-2, 2:-2]
    assert np.abs(inside - 127.5).max() < 5


def test_smaller_photo_is_that_of_the_pipeline(photos):
    image = photos.example(0)["image"]
    result = run(make_element(np.ones((1, *image.shape[:2]), np.uint8), image), short_side=200)
    expected = resize_image(image, result["image"].shape[:2]).astype(int)
    assert np.abs(result["image"] - expected).mean() < 4


def check_crop(element, masks, result):
    """That a result is what numpy cuts out of the image and of the masks of the whole image."""
    height, width = result["image"].shape[:2]
    left, top = (int(start) for start in result["image"][0, 0, :2])
    part = np.s_[top : top + height, left : left + width]
    np.testing.assert_array_equal(result["image"], element["image"][part])
    cropped = masks[(slice(None), *part)] > 0
    sides = tight_boxes(cropped)[:, 2:] - tight_boxes(cropped)[:, :2]
    for row, class_id in enumerate(result["classes"]):
        assert iou(pasted(result)[row], cropped[class_id]) > 0.95
        cell = np.tile(result["boxes"][row, 2:] - result["boxes"][row, :2], 2) / 112
        off = np.abs(result["boxes"][row] - tight_boxes(cropped[class_id][None])[0])
        assert (off <= 2.5 + cell).all()  # where the outline hardly slopes, few pixels are much
    gone = set(range(len(masks))) - set(result["classes"])
    assert all(sides[class_id].min() <= 1 for class_id in gone)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("size", [(180, 240), (90, 70)])
def test_crop_is_that_of_masks_of_the_whole_image(share, size):
    masks = full_masks(*size)
    element = make_element(masks)
    for seed in range(4):
        result = run(element, (seed, 7), crop=(share, share))
        assert result["image"].shape[:2] == (round(size[0] * share), round(size[1] * share))
        check_crop(element, masks, result)


def test_crop_reaches_every_place(element):
    starts = np.array(
        [run(element, (seed, 3), crop=(0.99, 0.99))["image"][0, 0] for seed in range(80)]
    )
    assert set(starts[:, 0]) == {0, 1, 2}
    assert set(starts[:, 1]) == {0, 1, 2}


def test_large_scale_jitter_in_its_square(element):
    for seed in range(12):
        result = run(element, (seed, 2), scale_jitter=(0.1, 2.0), jitter_size=96)
        height, width = result["image"].shape[:2]
        assert max(height, width) <= 96
        if min(height, width) < 72:  # all of it, its sides in their proportion
            assert abs(height * 4 / 3 - width) <= 1.5 or width == 96


def test_large_scale_jitter_that_enlarges_is_a_crop(element):
    result = run(element, scale_jitter=(1.0, 1.0), jitter_size=WIDTH)
    check_crop(element, full_masks(), result)
    scaled = run(element, scale_jitter=(2.0, 2.0), jitter_size=100)
    assert scaled["image"].shape == (100, 100, 3)
    # 200 pixels show 240: where each pixel says where it is, its neighbour is 1.2 further.
    steps = np.diff(scaled["image"][5:-5, 5:-5, 0].astype(float), axis=1)
    assert abs(steps.mean() - 1.2) < 0.02


def test_rotation_by_a_right_angle(noise):
    # A rectangle, for the box of a mask that fills it is known to the last bit.
    masks = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    masks[0, 20:90, 50:120] = 1
    element = make_element(masks, noise["image"])
    for turns in (-1, 1, 2):
        result = run(element, rotation=(90 * turns, 90 * turns))
        np.testing.assert_array_equal(result["image"], np.rot90(noise["image"], turns))
        turned = np.rot90(masks, turns, axes=(1, 2))
        np.testing.assert_allclose(result["boxes"], tight_boxes(turned), atol=1e-3)
        np.testing.assert_array_equal(result["masks"], 1)


@pytest.mark.parametrize("degrees", [-140, -10, 5, 30, 45])
def test_rotation_is_that_of_masks_of_the_whole_image(degrees):
    masks = full_masks()
    masks[4] = 0
    masks[4, 40:100, 60:160] = 1  # a rectangle
    result = run(make_element(masks), rotation=(degrees, degrees))
    height, width = result["image"].shape[:2]
    matrix = cv2.getRotationMatrix2D(((WIDTH - 1) / 2, (HEIGHT - 1) / 2), degrees, 1)
    matrix[:, 2] += [(width - WIDTH) / 2, (height - HEIGHT) / 2]
    turned = np.stack(
        [cv2.warpAffine(mask.astype(np.float32), matrix, (width, height)) for mask in masks]
    )
    assert list(result["classes"]) == [0, 1, 2, 3, 4]
    for mask, expected in zip(pasted(result), turned >= 0.5, strict=True):
        assert iou(mask, expected) > 0.93
    off = np.abs(result["boxes"] - tight_boxes(turned >= 0.5))
    assert off.max() <= 2.5
    angle = math.radians(degrees)
    sin, cos = abs(math.sin(angle)), abs(math.cos(angle))
    assert height == round(sin * WIDTH + cos * HEIGHT)
    assert width == round(cos * WIDTH + sin * HEIGHT)


def test_colours(noise):
    image = noise["image"].astype(float)
    grey = (image @ [0.299, 0.587, 0.114])[..., None]
    expected = {
        "brightness": ((0.2, 0.2), image + 51),
        "contrast": ((0.5, 0.5), 1.5 * image - 0.5 * grey.mean()),
        "saturation": ((-0.6, -0.6), 0.4 * image + 0.6 * grey),
        "hue": ((1 / 3, 1 / 3), np.roll(image, 1, axis=-1)),
    }
    for name, (ends, values) in expected.items():
        result = run(noise, **{name: ends})
        assert np.abs(result["image"] - np.clip(values, 0, 255)).max() <= 0.51, name
        np.testing.assert_array_equal(result["masks"], noise["masks"])
        np.testing.assert_array_equal(result["boxes"], noise["boxes"])


def test_colours_of_a_grey_picture_stay_grey(element):
    grey = {**element, "image": np.full((8, 8, 3), 90, np.uint8)}
    for seed in range(5):
        image = run(grey, (seed, 0), contrast=0.5, saturation=1.0, hue=0.5)["image"]
        assert np.abs(image - 90.0).max() <= 1


@given(
    st.tuples(*[st.integers(0, 2**31 - 1)] * 2),
    st.fixed_dictionaries(
        {},
        optional={
            "horizontal_flip": st.just(0.5),
            "rotation": st.sampled_from([10, 180]),
            "crop": st.sampled_from([0.1, 0.6]),
            "hue": st.just(0.1),
        },
    ),
    st.sampled_from(
        [{}, {"short_side": (30, 300)}, {"scale_jitter": (0.1, 2.0), "jitter_size": 128}]
    ),
    st.booleans(),
)
@example((256, 28588), {"crop": 0.1}, {}, True)  # of a large object a pixel and a half is left
@settings(max_examples=60, deadline=None)
def test_what_always_holds(seed, options, size, with_masks):
    element = make_element(full_masks())
    if not with_masks:
        del element["masks"]
    result = run(element, seed, **options, **size)
    assert set(result) == set(element)
    assert result["image"].dtype == np.uint8
    boxes, classes = result["boxes"], result["classes"]
    height, width = result["image"].shape[:2]
    assert 1 <= len(boxes) == len(classes) <= len(element["boxes"])
    assert (boxes >= 0).all()
    assert (boxes <= [width, height, width, height]).all()
    if classes[0] < 0:  # nothing is left
        assert len(classes) == 1
        return
    assert (np.diff(classes) > 0).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 1).all()
    if with_masks:
        assert result["masks"].shape[1:] == (112, 112)
        edges = [result["masks"][:, :4], result["masks"][:, -4:]]
        edges += [result["masks"][:, :, :4], result["masks"][:, :, -4:]]
        assert all(edge.any(axis=(1, 2)).all() for edge in edges)


def test_without_masks_boxes_are_cut_off(element):
    plain = {name: value for name, value in element.items() if name != "masks"}
    result = run(plain, (1, 7), crop=(0.5, 0.5))
    left, top = (float(start) for start in result["image"][0, 0, :2])
    moved = element["boxes"] - [left, top, left, top]
    expected = np.clip(moved, 0, [WIDTH / 2, HEIGHT / 2] * 2)
    np.testing.assert_allclose(result["boxes"], expected[result["classes"]], atol=1e-4)
    assert set(result) == {"image", "boxes", "classes"}


def test_padding_and_empty(element):
    padded = {**element, "classes": np.array([0, -1, 1, -1, 2], np.int32)}
    assert list(run(padded, rotation=5)["classes"]) == [0, 1, 2]
    nothing = {**element, "classes": np.full(5, -1, np.int32)}
    result = run(nothing, rotation=5)
    assert list(result["classes"]) == [-1]
    assert not result["boxes"].any()
    assert not result["masks"].any()
    none = {name: value[:0] for name, value in element.items()}
    result = run({**none, "image": element["image"]}, crop=0.5, rotation=5)
    assert result["masks"].shape == (0, 112, 112)


def test_same_seed_same_result_and_options_do_not_disturb_each_other(element):
    first, again = run(element, (3, 4), **ALL), run(element, (3, 4), **ALL)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    other = run(element, (3, 5), **ALL)
    assert first["image"].shape != other["image"].shape
    plain = {name: value for name, value in ALL.items() if name not in ("hue", "contrast")}
    np.testing.assert_array_equal(run(element, (3, 4), **plain)["boxes"], first["boxes"])


def test_inside_tf_data(photos):
    augment = Augmentation(**ALL, short_side=(100, 140), longest_side=200)

    def examples():
        for index in range(4):
            example = photos.example(index)
            boxes, classes = example["boxes"], example["class_ids"]
            masks = km.data.crop_masks(example["masks"], boxes)
            yield {"image": example["image"], "boxes": boxes, "classes": classes, "masks": masks}

    signature = {
        "image": tf.TensorSpec((None, None, 3), tf.uint8),
        "boxes": tf.TensorSpec((None, 4)),
        "classes": tf.TensorSpec((None,), tf.int32),
        "masks": tf.TensorSpec((None, 112, 112), tf.uint8),
    }
    elements = tf.data.Dataset.from_generator(examples, output_signature=signature)
    elements = elements.enumerate().map(
        lambda i, element: augment(element, tf.cast(tf.stack([7, i]), tf.int32))
    )
    batches = list(elements.padded_batch(2))
    assert len(batches) == 2
    for batch in batches:
        assert batch["image"].shape[0] == batch["masks"].shape[0] == 2
        assert max(batch["image"].shape[1:3]) <= 200
    for i, (result, element) in enumerate(zip(elements, examples(), strict=True)):
        expected = augment(element, (7, i))
        for name in signature:
            np.testing.assert_allclose(result[name], expected[name], atol=1.01, err_msg=name)


def test_config_goes_round():
    augment = Augmentation(**ALL, short_side=[640, 800])
    assert augment.short_side == (640, 800)
    assert augment.rotation == (-20, 20)
    assert augment.crop == (0.5, 1.0)
    config = json.loads(json.dumps(augment.get_config()))
    assert Augmentation.from_config(config) == Augmentation(**config) == augment
    assert Augmentation() != augment


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizontal_flip": 2}, "horizontal_flip must be a number at least 0 and at most 1"),
        ({"horizontal_flip": True}, "horizontal_flip must be a number"),
        ({"rotation": 200}, "rotation must be a number at least -180 and at most 180, got -200"),
        ({"rotation": "10"}, r"rotation must be a number or \(low, high\), got '10'"),
        ({"rotation": (1, 2, 3)}, r"rotation must be a number or \(low, high\)"),
        ({"rotation": (5, -5)}, "low first"),
        ({"rotation": math.nan}, "rotation must be a number"),
        ({"crop": 0.0}, "crop must be a number above 0 and at most 1"),
        ({"crop": 1.5}, "crop must be a number above 0 and at most 1"),
        ({"short_side": 640.5}, "short_side must be a whole number"),
        ({"short_side": (640, 1400)}, "short_side must be a whole number at least 1 and at most"),
        ({"longest_side": 0}, "longest_side must be a whole number at least 1"),
        ({"scale_jitter": (0, 2)}, "scale_jitter must be a number above 0"),
        ({"scale_jitter": math.inf}, "scale_jitter must be a number above 0"),
        ({"short_side": 800, "scale_jitter": (0.1, 2.0)}, "exclude each other"),
        ({"hue": 0.6}, "hue must be a number at least -0.5 and at most 0.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**options)


def test_bad_elements(element):
    augment = Augmentation(horizontal_flip=0.5)
    with pytest.raises(ValueError, match="The element has no boxes, classes; it has"):
        augment({"image": element["image"]}, (0, 0))
    with pytest.raises(
        ValueError, match=r"image must be \(H, W, 3\) uint8, or \(H, W, C\) float32"
    ):
        augment({**element, "image": element["image"].astype(np.int32)}, (0, 0))


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_move_as_rgb_does(noise, channels):
    copied = noise["image"][..., np.arange(channels) % 3]
    options = {"horizontal_flip": 0.5, "crop": 0.5, "short_side": 150}
    expected = run(noise, **options)
    result = run({**noise, "image": copied.astype(np.float32)}, **options)
    assert result["image"].dtype == np.float32
    difference = result["image"] - expected["image"][..., np.arange(channels) % 3]
    assert np.abs(difference).max() <= 0.51  # of rounding to uint8
    np.testing.assert_array_equal(result["masks"], expected["masks"])


@pytest.mark.parametrize("channels", [1, 4])
def test_brightness_and_contrast_of_other_channels(noise, channels):
    image = 300 * noise["image"][..., np.arange(channels) % 3].astype(np.float32) - 1000
    noise, of = {**noise, "image": image}, {"pixel_range": (-1000, 75500)}
    brighter = run(noise, brightness=(0.2, 0.2), **of)["image"]
    np.testing.assert_allclose(brighter, np.clip(image + 0.2 * 76500, -1000, 75500), rtol=1e-4)
    stronger = run(noise, contrast=(0.5, 0.5), **of)["image"]
    expected = np.clip(1.5 * image - 0.5 * image.mean(dtype=float), -1000, 75500)
    np.testing.assert_allclose(stronger, expected, rtol=1e-3, atol=10)
    turned = run(noise, rotation=(45, 45), **of)["image"]
    np.testing.assert_allclose(turned[0, 0], -1000, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hue": 0.1, "pixel_range": (0, 1)}, "saturation and hue are of RGB, the image has 4"),
        ({"saturation": 0.1, "pixel_range": (0, 1)}, "saturation and hue are of RGB"),
        ({"contrast": 0.1}, "The image is float32: give Augmentation the pixel_range"),
        ({"rotation": 10}, "The image is float32: give Augmentation the pixel_range"),
    ],
)
def test_what_other_channels_cannot_have_is_named(element, options, message):
    element = {**element, "image": np.zeros((HEIGHT, WIDTH, 4), np.float32)}
    with pytest.raises(ValueError, match=message):
        run(element, **options)
