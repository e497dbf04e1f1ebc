"""The SavedModels of Detectron2's R50-FPN and R50-C4 against what Detectron2 computed."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import MaskRCNNConfig
from keras_maskrcnn.export.decoding import decode_images

pytestmark = pytest.mark.slow

IMAGES = ("crowd_320", "kitchen_320")


def assert_golden(golden, answer, image):
    """At the goldens' level; see goldens/README.md."""
    ours = {name: value[0] for name, value in answer.items()}
    found, score, mask_cells = golden.compare_detections(ours, image)
    assert found >= 0.99
    assert score <= 1e-4
    assert mask_cells >= 0.999


def png(golden, image):
    return (golden.folder / "images" / f"{image}.png").read_bytes()


def one_file(data):
    files = np.empty(1, object)
    files[0] = data
    return files


def test_pixels(exported_golden, bare_tensorflow, c_api):
    golden, folder = exported_golden
    for server, image in zip((bare_tensorflow, c_api), IMAGES, strict=True):
        pixels = tf.io.decode_png(png(golden, image)).numpy()[None]
        assert_golden(golden, server(folder, images=pixels), image)


def test_image_files(exported_golden, bare_tensorflow, c_api):
    golden, folder = exported_golden
    for server, image in zip((c_api, bare_tensorflow), IMAGES, strict=True):
        answer = server(folder, "serve_bytes", image_bytes=one_file(png(golden, image)))
        assert_golden(golden, answer, image)


def test_jpeg_files(exported_golden, bare_tensorflow, c_api):
    """JPEG loses something, so the reference is the model's answer to the pixels it decodes to."""
    golden, folder = exported_golden
    pixels = tf.io.decode_png(png(golden, IMAGES[0]))
    jpeg = tf.io.encode_jpeg(pixels, quality=95).numpy()
    answer = c_api(folder, "serve_bytes", image_bytes=one_file(jpeg))
    config = MaskRCNNConfig(image_min_size=320, image_max_size=640)
    decoded = decode_images(tf.constant([jpeg]), config)
    expected = bare_tensorflow(folder, images=tf.cast(decoded["images"], tf.uint8).numpy())
    assert answer["num_detections"] == expected["num_detections"]
    for name in ("boxes", "scores", "classes", "masks"):
        np.testing.assert_allclose(answer[name], expected[name], atol=1e-3, err_msg=name)
