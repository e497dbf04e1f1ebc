import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

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
