"""Crops of large images: what they show of objects, against full-size masks."""

import cv2
import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.data.crops import choose_window, crop_record, load_window
from keras_maskrcnn.data.masks import decode_mask, rasterize, recut_mask, unpack_mask
from keras_maskrcnn.data.records import Instance, Record
from keras_maskrcnn.ops.masks import paste_masks

M = 112
SHAPES = km.data.shapes.Scene(number=(12, 16), radius=(0.03, 0.1))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return km.data.shapes.generate(tmp_path_factory.mktemp("large"), 3, size=320, scene=SHAPES)


def mask_in(instance, record, box):
    return rasterize(instance.segmentation, box, record.height, record.width, M)


def test_a_crop_shows_what_lies_in_it(dataset):
    rng = np.random.default_rng(0)
    cut = 0
    for record in dataset.records:
        for _ in range(4):
            window = left, top, right, bottom = choose_window(record, 96, rng)
            assert (right - left, bottom - top) == (96, 96)
            crop = crop_record(record, window, mask_in)
            assert (crop.height, crop.width) == (96, 96)
            whole = [decode_mask(i.segmentation, 320, 320) for i in record.instances]
            seen = [mask[top:bottom, left:right] for mask in whole]
            expected = [i for i, mask in enumerate(seen) if mask.sum() > 8]
            ids = [i.annotation_id for i in crop.instances]
            for i in expected:
                x, y, width, height = cv2.boundingRect(seen[i])
                found = crop.instances[ids.index(record.instances[i].annotation_id)]
                np.testing.assert_allclose(found.box, [x, y, x + width, y + height], atol=1.01)
                assert found.class_id == record.instances[i].class_id
                box = np.array([found.box], np.float32)
                mask = paste_masks(unpack_mask(found.packed_mask, M)[None], box, 96, 96)
                assert (mask[0] & seen[i]).sum() / (mask[0] | seen[i]).sum() > 0.8
                cut += seen[i].sum() < whole[i].sum()
    assert cut > 5


def test_most_windows_show_an_objects_centre_and_all_lie_in_the_image():
    box = (900.0, 40.0, 930.0, 60.0)
    record = Record(
        1, "a.png", 700, 1000, (Instance(box, 0), Instance((0, 0, 9, 9), 0, crowd=True))
    )
    rng = np.random.default_rng(0)
    windows = np.array([choose_window(record, 100, rng) for _ in range(500)])
    assert (windows >= 0).all()
    assert (windows[:, 2] <= 1000).all()
    assert (windows[:, 3] <= 700).all()
    centred = np.all((windows[:, :2] <= [915, 50]) & (windows[:, 2:] >= [915, 50]), axis=1)
    assert 0.8 < centred.mean() < 1
    assert len(np.unique(windows[:, 0])) > 50
    assert choose_window(record, 1200, rng) == (0, 0, 1000, 700)
    assert choose_window(Record(1, "a.png", 90, 100), 90, rng)[3] == 90


def test_the_pixels_are_those_of_the_file_and_its_size_is_checked(dataset):
    record = dataset.records[0]
    expected = record.read_image()[20:80, 10:110]
    np.testing.assert_array_equal(load_window(record, (10, 20, 110, 80)), expected)
    with open(record.path, "rb") as file:
        encoded = Record(1, "a", 320, 320, encoded=file.read())
    np.testing.assert_array_equal(load_window(encoded, (10, 20, 110, 80)), expected)
    with pytest.raises(ValueError, match="320x320, its annotation says 99x320"):
        load_window(Record(1, record.path, 320, 99), (0, 0, 9, 9))


def test_batches_of_crops(dataset, small_config):
    config = small_config.replace(num_classes=6, class_names=(), gt_mask_size=M, image_min_size=96)
    batches = dataset.batches(config, 2, training=True, seed=1, crop_size=96)
    again = dataset.batches(config, 2, training=True, seed=1, crop_size=96)
    for (x, y), (other, _) in zip(batches, again, strict=True):
        np.testing.assert_array_equal(x["images"], other["images"])
        assert x["images"].shape == (2, 96, 96, 3)
        assert (y["classes"].numpy() >= 0).sum() > 0
        assert y["masks"].shape[2:] == (M, M)
        areas = np.prod(y["boxes"][..., 2:] - y["boxes"][..., :2], axis=-1)
        assert (areas[y["classes"] < 0] == 0).all()
    boxes_only = config.replace(mask=False)
    _, y = next(iter(dataset.batches(boxes_only, 2, training=True, crop_size=96)))
    assert set(y) == {"boxes", "classes"}


def test_crops_are_for_training(dataset, small_config):
    for options in ({"crop_size": 96}, {"crop_size": 0, "training": True}):
        with pytest.raises(ValueError, match="crop_size"):
            dataset.batches(small_config.replace(num_classes=6, class_names=()), **options)


def test_masks_that_were_cut_out_before_are_cut_out_anew(dataset):
    rng = np.random.default_rng(0)
    for instance in dataset.records[0].instances:
        x0, y0, x1, y1 = instance.box
        across, down = np.sort(rng.uniform(0, 1, (2, 2)), axis=1)
        across, down = across * [0.5, 1] + [0, 0.1], down * [0.5, 1] + [0, 0.1]
        left, right = x0 + np.clip(across, 0, 1) * (x1 - x0)
        top, bottom = y0 + np.clip(down, 0, 1) * (y1 - y0)
        part = (left, top, right, bottom)
        whole = rasterize(instance.segmentation, instance.box, 320, 320, M)
        recut = recut_mask(whole, instance.box, part)
        expected = rasterize(instance.segmentation, part, 320, 320, M)
        assert (recut == expected).mean() > 0.95


def test_batches_of_crops_of_tfrecords(dataset, small_config, tmp_path):
    config = small_config.replace(num_classes=6, class_names=(), gt_mask_size=M, image_min_size=96)
    records = km.data.write_tfrecords(dataset, tmp_path, mask_size=M, verbose=False)
    x, y = next(iter(records.batches(config, 2, training=True, crop_size=96)))
    assert x["images"].shape == (2, 96, 96, 3)
    assert (y["classes"].numpy() >= 0).sum() > 0
    assert y["masks"].numpy()[y["classes"].numpy() >= 0].any(axis=(1, 2)).all()
    with pytest.raises(ValueError, match="no crops"):
        records.batches(config, 2, training=True, crop_size=96, service="grpc://host:1")
