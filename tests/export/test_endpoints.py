"""Detections brought back to the images that were sent, as `predict` brings them."""

import numpy as np
import tensorflow as tf

from keras_maskrcnn.export.endpoints import to_original_pixels
from keras_maskrcnn.prediction.predict import to_detections


def test_as_predict():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (2, 5, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(2), corners.max(2)], axis=-1)
    boxes[0, 1] = [10, 10, 10, 30]  # no width: left out
    boxes[1, 0] = [70, 5, 80, 20]  # beyond the image, which is 60 wide: nothing of it is left
    numbers = np.array([5, 3], np.int32)
    classes = rng.integers(0, 4, (2, 5)).astype(np.int32)
    classes[1, 3:], boxes[1, 3:] = -1, 0
    outputs = {
        "boxes": boxes,
        "scores": rng.uniform(0, 1, (2, 5)).astype(np.float32),
        "classes": classes,
        "num_detections": numbers,
        "masks": rng.uniform(0, 1, (2, 5, 7, 7)).astype(np.float32),
    }
    image_sizes, original_sizes = np.array([[64, 80], [50, 60]]), np.array([[200, 251], [31, 37]])
    sizes = {"image_sizes": image_sizes, "original_sizes": original_sizes}
    expected = to_detections({**outputs, **sizes})
    tensors = {name: tf.constant(value) for name, value in outputs.items()}
    found = to_original_pixels(tensors, tf.constant(image_sizes), tf.constant(original_sizes))
    assert found["num_detections"].numpy().tolist() == [4, 2]
    for i, detections in enumerate(expected):
        n = len(detections)
        assert n == found["num_detections"][i]
        np.testing.assert_allclose(found["boxes"][i, :n], detections.boxes, rtol=1e-6)
        np.testing.assert_array_equal(found["scores"][i, :n], detections.scores)
        np.testing.assert_array_equal(found["classes"][i, :n], detections.class_ids)
        np.testing.assert_array_equal(found["masks"][i, :n], detections.box_masks)
        assert (found["classes"][i, n:].numpy() == -1).all()
        assert not found["boxes"][i, n:].numpy().any()
        assert not found["masks"][i, n:].numpy().any()
