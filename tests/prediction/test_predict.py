import sys

import cv2
import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tifffile

import keras_maskrcnn as km


@pytest.fixture(scope="module")
def model(small_config):
    keras.utils.set_random_seed(0)
    return km.MaskRCNN(small_config, box_score_threshold=0.0)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, shape, np.uint8) for shape in ((70, 40, 3), (64, 64, 3), (9, 30, 3))
    ]


def boxes_equal(one, other):
    assert [len(d) for d in one] == [len(d) for d in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-3)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)


def test_arrays_of_different_sizes(model, pictures):
    found = model.predict(pictures, verbose=0)
    assert len(found) == 3
    for picture, detections in zip(pictures, found, strict=True):
        height, width = picture.shape[:2]
        assert isinstance(detections, km.Detections)
        assert len(detections) > 0
        assert (detections.boxes <= [width, height, width, height]).all()
        assert detections.masks.shape == (len(detections), height, width)
        assert set(detections.class_names) <= {"cat", "dog", "sheep"}


def test_paths_are_as_arrays(model, pictures, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, picture in zip(paths, pictures, strict=True):
        cv2.imwrite(str(path), picture[:, :, ::-1])
    mixed = [str(paths[0]), pictures[1], paths[2]]
    boxes_equal(model.predict(mixed, verbose=0), model.predict(pictures, verbose=0))
    boxes_equal(model.predict(paths[0], verbose=0), model.predict(pictures[0], verbose=0))


def test_only_what_scores_more_than_its_class_asks_for(small_config, pictures, eagerly):
    """Room for all: none takes the place of another."""
    fields = {"mask": False, "box_score_threshold": 0.0, "box_detections_per_image": 150}
    config = small_config.replace(**fields)
    model = km.MaskRCNN(config)
    (every,) = model.predict(pictures[1], verbose=0)
    thresholds = np.array([np.median(every.scores[every.class_ids == k]) for k in range(3)])
    choosy = km.MaskRCNN(config.replace(class_score_thresholds=thresholds.tolist()))
    choosy.set_weights(model.get_weights())
    (found,) = choosy.predict(pictures[1], verbose=0)
    expected = every[every.scores > thresholds[every.class_ids]]
    boxes_equal([found], [expected])
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    assert 0 < len(found) < len(every)


def test_boxes_are_in_the_pixels_of_the_original(model, pictures):
    """A picture of twice the size has its objects at twice the coordinates."""
    small = pictures[1]
    large = cv2.resize(small, (128, 128), interpolation=cv2.INTER_NEAREST)
    one, two = (model.predict([image], verbose=0)[0] for image in (small, large))
    np.testing.assert_allclose(two.boxes, 2 * one.boxes, atol=1e-3)


def test_batch_array_and_dataset(model, pictures):
    square = np.stack([pictures[1], pictures[1][::-1]])
    expected = model.predict(list(square), verbose=0)
    boxes_equal(model.predict(square, verbose=0), expected)
    boxes_equal(model.predict(square, batch_size=2, verbose=0), expected)
    sizes = np.full((2, 2), 64, np.int32)
    x = {"images": square.astype(np.float32), "image_sizes": sizes}
    boxes_equal(model.predict(x, verbose=0), expected)
    dataset = tf.data.Dataset.from_tensor_slices(x).batch(1)
    boxes_equal(model.predict(dataset, verbose=0), expected)
    with_targets = dataset.map(lambda x: (x, tf.zeros(1)))
    boxes_equal(model.predict(with_targets, verbose=0), expected)
    images = tf.data.Dataset.from_tensor_slices(square)
    boxes_equal(model.predict(images, verbose=0), expected)
    assert len(model.predict(dataset, steps=1, verbose=0)) == 1


def test_batched_images_of_different_sizes(model, pictures):
    found = model.predict(pictures, batch_size=3, verbose=0)
    for picture, detections in zip(pictures, found, strict=True):
        height, width = picture.shape[:2]
        assert (detections.boxes <= [width, height, width, height]).all()


def test_callbacks_see_each_batch(model, pictures):
    seen = []
    callback = keras.callbacks.LambdaCallback(on_predict_batch_end=lambda *_: seen.append(1))
    callback.on_predict_batch_end = lambda batch, logs=None: seen.append(batch)
    model.predict(pictures, verbose=0, callbacks=[callback])
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8), np.uint8), r"image 1 must be \(H, W, 3\).*\(8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), r"image 1 must be \(H, W, 3\)"),
        (np.full((8, 8, 3), np.nan), "image 1 has a pixel that is NaN"),
        (np.full((8, 8, 3), "a"), "image 1 must hold numbers"),
    ],
)
def test_bad_arrays_are_named(model, pictures, image, message):
    with pytest.raises(ValueError, match=message):
        model.predict([pictures[0], image], verbose=0)


def test_bad_files_are_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="none.jpg"):
        model.predict([tmp_path / "none.jpg"], verbose=0)
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ValueError, match="empty.jpg"):
        model.predict([str(tmp_path / "empty.jpg")], verbose=0)


def test_wrong_dataset(model):
    with pytest.raises(ValueError, match="must hold batches"):
        model.predict(tf.data.Dataset.range(3), verbose=0)


@pytest.mark.parametrize(
    "nothing",
    [
        [],
        (),
        iter([]),
        np.zeros((0, 64, 64, 3), np.uint8),
        {"images": np.zeros((0, 64, 64, 3), np.uint8)},
        tf.data.Dataset.from_tensor_slices(np.zeros((0, 64, 64, 3), np.uint8)),
        tf.data.Dataset.from_tensor_slices(np.zeros((2, 64, 64, 3), np.uint8)).filter(
            lambda image: tf.reduce_any(image > 0)
        ),
    ],
    ids=["list", "tuple", "iterator", "array", "batch", "dataset", "filtered dataset"],
)
@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # Keras': it is true
def test_nothing_is_found_in_no_image(model, nothing):
    assert model.predict(nothing, verbose=0) == []


def test_no_image_is_augmented(model):
    assert model.predict([], augment=True, verbose=0) == []


def test_a_pillow_image_is_as_its_array(model, pictures):
    expected = model.predict(pictures[0], verbose=0)
    boxes_equal(model.predict(PIL.Image.fromarray(pictures[0]), verbose=0), expected)
    mixed = [PIL.Image.fromarray(pictures[0]), pictures[1]]
    boxes_equal(model.predict(mixed, verbose=0), model.predict(pictures[:2], verbose=0))


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "I;16"])
def test_a_pillow_image_is_as_its_file(model, pictures, tmp_path, mode):
    image = PIL.Image.fromarray(pictures[0])
    if mode == "I;16":
        image = PIL.Image.fromarray(pictures[0][..., 0].astype(np.uint16) * 257)
    elif mode == "1":
        image = image.convert("L").point(lambda value: 255 * (value > 128)).convert("1")
    else:
        image = image.convert(mode)
    image.save(tmp_path / "a.png")
    boxes_equal(model.predict(image, verbose=0), model.predict(tmp_path / "a.png", verbose=0))


def test_predict_on_batch_is_predict(model, pictures):
    square = np.stack([pictures[1], pictures[1][::-1]])
    expected = model.predict(square, verbose=0)
    boxes_equal(model.predict_on_batch(square), expected)
    boxes_equal(model.predict_on_batch({"images": square}), expected)


RANGE = r"must be RGB 0..255; got pixels from {} to {}. Multiply .* divide those of 16 bits"


@pytest.mark.parametrize(
    ("image", "low", "high"),
    [
        (np.full((64, 64, 3), 61440, np.uint16), 61440, 61440),
        (np.full((64, 64, 3), 300, np.uint16), 300, 300),
        (np.full((64, 64, 3), -1, np.int32), -1, -1),
        (np.linspace(0, 1, 12288).reshape(64, 64, 3), 0, 1),
        (np.linspace(-1, 1, 12288, dtype=np.float32).reshape(64, 64, 3), -1, 1),
        (np.full((64, 64, 3), 4095.0, np.float16), "409", "409"),
    ],
    ids=["16 bits", "16 bits, dark", "below 0", "0..1", "-1..1", "12 bits as floats"],
)
def test_pixels_of_another_range_are_refused_and_the_range_named(model, pictures, image, low, high):
    message = RANGE.format(rf"{low}\S*", rf"{high}\S*")
    with pytest.raises(ValueError, match=f"image 1 {message}"):
        model.predict([pictures[0], image], verbose=0)
    with pytest.raises(ValueError, match=f"image 0 {message}"):
        model.predict([image], augment=True, verbose=0)
    with pytest.raises(ValueError, match=f"an image {message}"):
        model.predict(tf.data.Dataset.from_tensors(image), verbose=0)
    with pytest.raises(ValueError, match=f"images {message}"):
        model.predict({"images": image[None]}, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"images {message}"):
        model.predict(tf.data.Dataset.from_tensors({"images": image[None]}), verbose=0)


def test_sizes_that_do_not_fit_the_batch_are_named(model, pictures):
    x = {"images": pictures[0][None], "image_sizes": np.array([[40, 70]])}
    message = r"image_sizes must be heights and widths .*\[70,? 40\]; got \[\[40,? 70\]\]"
    with pytest.raises(ValueError, match=message):
        model.predict(x, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.predict(tf.data.Dataset.from_tensors(x), verbose=0)


def test_tiles_exclude_batches_and_augmentation(model, pictures):
    for options in ({"steps": 1}, {"callbacks": []}, {"augment": True}):
        with pytest.raises(ValueError, match="tile_size"):
            model.predict(pictures[0], tile_size=32, verbose=0, **options)
    with pytest.raises(ValueError, match="not batches"):
        model.predict({"images": pictures[0][None]}, tile_size=32, verbose=0)
    with pytest.raises(ValueError, match="tile_size must be"):
        model.predict(pictures[0], tile_size=0, verbose=0)
    assert model.predict([], tile_size=32, verbose=0) == []


def test_a_file_in_tiles_is_as_its_array(model, pictures, tmp_path):
    large = np.tile(pictures[1], (2, 3, 1))
    tifffile.imwrite(tmp_path / "a.tif", large, photometric="rgb", tile=(32, 32))
    options = {"tile_size": 64, "tile_overlap": 0.2, "batch_size": 4, "verbose": 0}
    (one,) = model.predict(large, **options)
    (two,) = model.predict(str(tmp_path / "a.tif"), **options)
    assert len(one) > 0
    assert one.image_size == two.image_size == (128, 192)
    boxes_equal([one], [two])
    assert one.box_masks is None
    assert one.masks.shape == (len(one), 128, 192)
    left, top, right, bottom = one.boxes.T
    assert (one.boxes >= 0).all()
    assert right.max() > 128  # beyond the first tiles
    assert ((right <= 192) & (bottom <= 128)).all()
    fits = model.predict(pictures[0], tile_size=96, verbose=0)
    boxes_equal(fits, model.predict(pictures[0], verbose=0))


@pytest.fixture(scope="module")
def four(deep_config):
    """A model of four channels of 16 bits."""
    keras.utils.set_random_seed(0)
    return km.MaskRCNN(deep_config(4))


def test_files_and_arrays_of_other_channels(four, deep_shapes):
    dataset = deep_shapes(4, ".npy")
    arrays = [np.load(record.path) for record in dataset.records]
    tiff = deep_shapes(4, ".tif").records[1].path
    mixed = [dataset.records[0].path, tiff, arrays[2].astype(np.float32)]
    expected = four.predict(arrays, verbose=0)
    assert all(len(found) for found in expected)
    boxes_equal(four.predict(mixed, verbose=0), expected)
    batches = dataset.batches(four.config, batch_size=1)
    boxes_equal(four.predict(batches, verbose=0), expected)


def test_tiles_of_other_channels(four, deep_shapes):
    record = deep_shapes(4, ".npy").records[0]
    found = [
        four.predict(image, tile_size=48, verbose=0)
        for image in (np.load(record.path), record.path, deep_shapes(4, ".tif").records[0].path)
    ]
    boxes_equal(found[1], found[0])
    boxes_equal(found[2], found[0])


@pytest.mark.slow
def test_test_time_augmentation_of_other_channels(four, deep_shapes, monkeypatch):
    monkeypatch.setattr("keras_maskrcnn.prediction.test_time_augmentation.SCALES", (1.0,))
    (found,) = four.predict(deep_shapes(4, ".npy").records[0].path, augment=True, verbose=0)
    assert len(found)


def test_other_channels_are_named(four, pictures):
    with pytest.raises(ValueError, match=r"image 1 must be \(H, W, 4\), 4 channels, 0..65535; got"):
        four.predict([np.zeros((64, 64, 4), np.uint16), pictures[0]], verbose=0)
    with pytest.raises(ValueError, match="image 0 must be 4 channels, 0..65535; got uint8 pixels"):
        four.predict([np.zeros((64, 64, 4), np.uint8)], verbose=0)


def test_pillows_images_of_other_channels_are_as_they_are(four):
    rgba = PIL.Image.fromarray(np.zeros((64, 64, 4), np.uint8))
    with pytest.raises(ValueError, match="image 0 must be 4 channels, 0..65535; got uint8 pixels"):
        four.predict(rgba, verbose=0)
    with pytest.raises(ValueError, match="image 0 is of Pillow's mode 'P'"):
        four.predict(PIL.Image.new("P", (64, 64)), verbose=0)


def test_tifffile_that_is_missing_is_named(four, deep_shapes, monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ModuleNotFoundError, match=r"1.tif: .*with tifffile: pip install 'maskrcnn"):
        four.predict(deep_shapes(4, ".tif").records[0].path, verbose=0)
