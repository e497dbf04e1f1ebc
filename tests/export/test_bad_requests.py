"""What a server answers to files that are no photos as cameras write them, and goes on serving."""

import cv2
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf


@pytest.fixture(scope="module")
def model(served):
    return served[0]


@pytest.fixture(scope="module")
def serve(signatures):
    """The signature `serve_bytes` of the exported model."""
    return signatures["serve_bytes"]


@pytest.fixture(scope="module")
def pixels():
    """A smooth picture (64, 80, 3), of a size that the model does not change."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
    return cv2.resize(noise, (80, 64), interpolation=cv2.INTER_CUBIC)


def write_turned(folder, orientation, pixels):
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = orientation
    PIL.Image.fromarray(pixels).save(folder / "photo.jpg", exif=exif, quality=95)
    return folder / "photo.jpg"


def write(folder, kind, pixels):
    path = folder / "photo.png"
    alpha = np.full((*pixels.shape[:2], 1), 100, np.uint8)
    made = {
        "grey": lambda: pixels[:, :, 0],
        "alpha": lambda: np.concatenate([pixels, alpha], axis=-1),
        "one pixel": lambda: pixels[:1, :1],
        "8000x6000": lambda: cv2.resize(pixels, (8000, 6000)),
    }
    cv2.imwrite(str(path), made[kind]())
    return path


@pytest.mark.parametrize("kind", ["grey", "alpha", "one pixel", "8000x6000"])
def test_unusual_pictures_are_answered_as_predict_answers(serve, model, tmp_path, pixels, kind):
    check_answer(serve, model, write(tmp_path, kind, pixels))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_are_answered_upright(serve, model, tmp_path, pixels, orientation):
    path = write_turned(tmp_path, orientation, pixels)
    found = check_answer(serve, model, path)
    assert found.image_size == ((80, 64) if orientation >= 5 else (64, 80))


def check_answer(serve, model, path):
    """The answer is what `predict` finds, which is returned."""
    outputs = {k: v.numpy() for k, v in serve(tf.constant([path.read_bytes()])).items()}
    expected = model.predict([path], verbose=0)[0]
    count = outputs["num_detections"][0]
    assert count == len(expected)
    scale = max(expected.image_size) / 100
    np.testing.assert_allclose(outputs["scores"][0, :count], expected.scores, atol=2e-3)
    # Detections of nearly equal scores may change places.
    distance = np.abs(outputs["boxes"][0, :count, None] - expected.boxes[None]).max(-1)
    assert np.mean(distance.min(axis=1) < scale) > 0.9
    return expected


BAD = {
    "nothing": lambda jpeg, png: b"",
    "text": lambda jpeg, png: b"no picture",
    "a photo cut off": lambda jpeg, png: jpeg[:-100],
    "a picture cut off": lambda jpeg, png: png[:-100],
    "a picture without pixels": lambda jpeg, png: png[:16] + bytes(8) + png[24:],
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_picture_is_refused_and_the_server_goes_on(serve, pixels, kind):
    good, jpeg = (cv2.imencode(ending, pixels)[1].tobytes() for ending in (".png", ".jpg"))
    data = BAD[kind](jpeg, good)
    before = serve(tf.constant([good]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="image 1 of the batch"):
        serve(tf.constant([good, data]))
    after = serve(tf.constant([good]))
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_a_batch_of_no_image_is_refused(serve):
    with pytest.raises(tf.errors.InvalidArgumentError, match="batch is empty"):
        serve(tf.constant([], tf.string))
