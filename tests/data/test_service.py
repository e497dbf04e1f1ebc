"""A `tf.data` service of real processes, and what its workers compute."""

import socket
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.data.images import decode_image, exif_orientation, resized_shape, turn_upright
from keras_maskrcnn.data.pipeline import ListedItems, _Reader
from keras_maskrcnn.data.service import _upright, stock_element

DISPATCHER = """
import tensorflow as tf
service = tf.data.experimental.service
service.DispatchServer(service.DispatcherConfig(port={port})).join()
"""
WORKER = """
import tensorflow as tf
service = tf.data.experimental.service
service.WorkerServer(service.WorkerConfig(
    dispatcher_address="localhost:{dispatcher}", worker_address="localhost:{port}", port={port}
)).join()
"""


@pytest.fixture(scope="module")
def photos(shared):
    folder = shared / "data/coco_tiny"
    return km.data.CocoDataset(
        folder / "annotations/instances_train2017.json", folder / "train2017"
    )


@pytest.fixture(scope="module")
def stored(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    return km.data.write_tfrecords(photos, folder, shards=10, mask_size=28)


@pytest.fixture(scope="module")
def config():
    return km.MaskRCNNConfig(image_min_size=128, image_max_size=192, gt_mask_size=28)


@pytest.fixture(scope="module")
def service():
    """The address of a dispatcher with two workers, each a process of its own."""
    with socket.socket() as a, socket.socket() as b, socket.socket() as c:
        for free in (a, b, c):
            free.bind(("localhost", 0))
        port, *workers = (free.getsockname()[1] for free in (a, b, c))
    scripts = [DISPATCHER.format(port=port)]
    scripts += [WORKER.format(dispatcher=port, port=worker) for worker in workers]
    processes = [subprocess.Popen([sys.executable, "-c", script]) for script in scripts]
    yield f"grpc://localhost:{port}"
    for process in processes:
        process.terminate()
        process.wait()


def test_two_workers_share_an_epoch(photos, stored, config, service):
    batches = stored.batches(config, batch_size=2, training=True, service=service)
    expected = [resized_shape(r.height, r.width, 128, 192) for r in photos.records]
    orders = []
    for _ in range(2):
        sizes = []
        for x, y in batches:
            assert x["images"].dtype == tf.float32
            assert x["images"].shape[0] == 2
            assert y["masks"].shape[2:] == (28, 28)
            assert y["boxes"].shape[:2] == y["classes"].shape == y["masks"].shape[:2]
            sizes += [tuple(size) for size in x["image_sizes"].numpy()]
        assert len(sizes) >= len(photos) - 2  # each worker may drop one
        assert all(sizes.count(size) <= expected.count(size) for size in set(sizes))
        orders.append(sizes)
    assert orders[0] != orders[1]


def test_an_order_is_not_to_be_had(stored, config):
    with pytest.raises(ValueError, match="has no order"):
        stored.batches(config, service="grpc://localhost:1")
    with pytest.raises(ValueError, match="has no order"):
        stored.batches(config, training=True, start=3, service="grpc://localhost:1")


@pytest.mark.parametrize(("sides", "most"), [((800, 1333), 0.3), ((128, 192), 4.0)])
@pytest.mark.parametrize("style", ["detectron2", "torchvision"])
def test_element_is_nearly_that_of_the_pipeline(photos, stored, config, sides, most, style):
    config = config.replace(image_min_size=sides[0], image_max_size=sides[1], resize_style=style)
    items = ListedItems(photos.records)
    reader = _Reader(photos, items, config, training=False, augmentation=None, crop_size=None)
    flips = 0
    for i, ((serialized, _), _) in zip(range(8), stored.items(None), strict=False):
        element = stock_element(serialized, tf.constant([i, 1]), config, None)
        image, boxes, classes, masks = reader._read(np.array([0, 0], np.int32), i)
        found = {name: value.numpy() for name, value in element.items()}
        assert tuple(found["image_sizes"]) == image.shape[:2]
        np.testing.assert_array_equal(found["classes"][: len(classes)], classes)
        if np.abs(found["image"].astype(float) - image).mean() > 8:
            flips += 1
            image, masks = image[:, ::-1], masks[:, :, ::-1]
            boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
        assert np.abs(found["image"].astype(float) - image).mean() < most
        np.testing.assert_allclose(found["boxes"][: len(boxes)], boxes, atol=1e-3)
        np.testing.assert_array_equal(found["masks"][: len(masks)], masks)
    assert 0 < flips < 8


def test_at_most_so_many_objects_and_an_augmentation(stored, config):
    serialized = next(iter(stored.items(None)))[0][0]
    few = stock_element(serialized, tf.constant([0, 1]), config.replace(max_gt_boxes=2), None)
    assert few["classes"].shape == (2,)
    grey = stock_element(
        serialized,
        tf.constant([0, 1]),
        config,
        lambda element, seed: {**element, "image": element["image"][:50, :70] // 2},
    )
    assert tuple(grey["image_sizes"]) == (50, 70)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation):
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)
    image = turn_upright(stored, orientation)
    turned = _upright(tf.constant(stored), tf.constant(orientation, tf.int64))
    np.testing.assert_array_equal(turned, image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_file(orientation):
    picture = cv2.resize(np.arange(60, dtype=np.uint8).reshape(4, 5, 3) * 4, (50, 40))
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"MM\x00*" + struct.pack(">I", 8) + struct.pack(">H", 1) + entry + bytes(4)
    exif = b"Exif\x00\x00" + tiff
    jpeg = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    image = decode_image(jpeg, "a.jpg")
    assert exif_orientation(jpeg, image) == orientation
