import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.data import TFRecordDataset, write_tfrecords


@pytest.fixture(scope="module")
def photos(shared):
    folder = shared / "data/coco_tiny"
    return km.data.CocoDataset(
        folder / "annotations/instances_train2017.json", folder / "train2017"
    )


@pytest.fixture(scope="module")
def stored(photos, tmp_path_factory):
    return write_tfrecords(photos, tmp_path_factory.mktemp("records"), shards=4, mask_size=28)


@pytest.fixture(scope="module")
def config():
    return km.MaskRCNNConfig(image_min_size=64, image_max_size=96, gt_mask_size=28)


def assert_same(batches, expected):
    batches, expected = list(batches), list(expected)
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, batch, other)


def ids_of(batches):
    """What tells the images of batches apart, flipped or not."""
    return [float(np.sum(x["images"])) for x, _ in batches]


def test_batches_are_those_of_the_dataset_written(photos, stored, config):
    assert len(stored) == len(photos) == 50
    assert stored.class_names == photos.class_names
    assert_same(stored.batches(config, batch_size=4), photos.batches(config, batch_size=4))
    boxes_only = config.replace(mask=False)
    assert_same(stored.batches(boxes_only), photos.batches(boxes_only))


def test_records_keep_what_was_annotated(photos, stored):
    for record, other in zip(stored.records, photos.records, strict=True):
        assert (record.image_id, record.path) == (other.image_id, other.path)
        assert record.encoded == pathlib.Path(other.path).read_bytes()
        for instance, original in zip(record.instances, other.instances, strict=True):
            np.testing.assert_allclose(instance.box, original.box, rtol=1e-6)
            assert instance.area == pytest.approx(original.area, rel=1e-6)
            assert instance.crowd == original.crowd
            assert instance.annotation_id == original.annotation_id


def test_training_sees_each_record_once_in_the_order_of_the_seed(stored, config):
    batches = stored.batches(config, training=True, seed=3)
    first, second = ids_of(batches), ids_of(batches)
    assert len(first) == int(batches.cardinality()) == 50
    assert first != second
    assert sorted(first) == pytest.approx(sorted(second))
    tf.random.set_seed(5)
    again = stored.batches(config, training=True, seed=3)
    assert [ids_of(again), ids_of(again)] == [first, second]
    assert ids_of(stored.batches(config, training=True, seed=4)) != first


def test_start_goes_on_where_another_stopped(stored, config):
    whole = stored.batches(config, batch_size=4, training=True, seed=1)
    epochs = [list(whole) for _ in range(2)]
    rest = stored.batches(config, batch_size=4, training=True, seed=1, start=5)
    assert_same(rest, epochs[0][5:])
    assert_same(rest, epochs[1])


def test_several_workers_share_batches_not_files(stored, config):
    options = stored.batches(config, training=True).options()
    policy = options.experimental_distribute.auto_shard_policy
    assert policy == tf.data.experimental.AutoShardPolicy.DATA


def test_pattern_of_some_shards(stored, config):
    some = TFRecordDataset(pathlib.Path(stored.source) / "0000[12]*.tfrecord")
    assert len(some) == sum(list(stored.shards.values())[1:3])
    assert len(list(some.batches(config))) == len(some)


def test_evaluation_is_that_of_the_dataset_written(photos, stored):
    class Guess:
        """Finds what is annotated, shifted a little."""

        config = km.MaskRCNNConfig(num_classes=80)
        distribute_strategy = tf.distribute.get_strategy()

        def __init__(self):
            self.count = 0

        def predict(self, images, **_):
            found = []
            for _ in images:
                example = photos.example(self.count)
                self.count += 1
                boxes = np.array(example["boxes"] + 3, np.float32)
                found.append(
                    km.Detections(
                        boxes=boxes,
                        scores=np.linspace(1, 0.5, len(boxes), dtype=np.float32),
                        class_ids=example["class_ids"],
                        box_masks=np.ones((len(boxes), 28, 28), np.float32),
                        image_size=example["image"].shape[:2],
                    )
                )
            return found

    for most in (None, 7):
        figures = km.evaluate(Guess(), stored, verbose=0, max_images=most)
        expected = km.evaluate(Guess(), photos, verbose=0, max_images=most)
        assert figures == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert figures["box_ap50"] > 0.5


@pytest.fixture
def small(tmp_path):
    return km.data.shapes.generate(tmp_path / "shapes", 6, size=64, seed=1)


def test_images_that_cannot_be_read_are_not_written(small, tmp_path, config):
    bad = pathlib.Path(small.records[2].path)
    bad.write_bytes(bad.read_bytes()[:500])
    broken = small.records[4].instances[0]
    broken.segmentation["counts"] = [5]
    stored = write_tfrecords(small, tmp_path / "records", shards=2, mask_size=28)
    assert len(stored) == 5
    assert stored.problems[0].where == str(bad)
    assert "runs add up to 5" in stored.problem_report()
    assert len(list(stored.batches(config))) == 5
    del small.records[2]
    assert_same(stored.batches(config), small.batches(config))


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "cut off":
        data = data[: len(data) // 2]
    elif how == "a flipped bit":
        data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut off", "a flipped bit"])
@pytest.mark.parametrize("training", [False, True])
def test_broken_shard_is_listed_and_others_take_the_place(small, tmp_path, config, how, training):
    stored = write_tfrecords(small, tmp_path / "records", shards=2, mask_size=28)
    damage(pathlib.Path(list(stored.shards)[1]), how)
    batches = list(stored.batches(config, training=training))
    assert len(batches) == 6
    lost = {problem.where for problem in stored.problems}
    assert 1 <= len(lost) <= 3
    assert all("00001-of-00002.tfrecord: record" in where for where in lost)
    good = len(list(stored.records))
    assert good == 6 - len(lost)
    if not training:
        np.testing.assert_array_equal(batches[5][0]["images"], batches[0][0]["images"])


def test_all_is_broken(small, tmp_path, config):
    stored = write_tfrecords(small, tmp_path / "records", shards=1, mask_size=28)
    pathlib.Path(next(iter(stored.shards))).write_bytes(b"")
    with pytest.raises(Exception, match="6 of 6 images cannot be used"):
        next(iter(stored.batches(config)))


def test_no_image_can_be_written(small, tmp_path):
    for record in small.records:
        pathlib.Path(record.path).write_bytes(b"")
    with pytest.raises(
        ValueError, match="(?s)6 of 6 images cannot be used.*the image file is empty"
    ):
        write_tfrecords(small, tmp_path / "records")


def test_wrong_calls(small, tmp_path, config):
    folder = tmp_path / "records"
    stored = write_tfrecords(small, folder, shards=40, mask_size=28)
    assert len(stored.shards) == 6  # no file without a record
    with pytest.raises(FileExistsError, match="holds TFRecords already"):
        write_tfrecords(small, folder)
    with pytest.raises(ValueError, match="at least 1, got 0, 112"):
        write_tfrecords(small, tmp_path / "other", shards=0)
    with pytest.raises(ValueError, match="mask_size=28, the config asks for gt_mask_size=56"):
        stored.batches(config.replace(gt_mask_size=56))
    with pytest.raises(FileNotFoundError, match="not written by write_tfrecords"):
        TFRecordDataset(tmp_path / "shapes")
    with pytest.raises(FileNotFoundError, match="No file of the index fits"):
        TFRecordDataset(folder / "9*.tfrecord")
    pathlib.Path(next(iter(stored.shards))).unlink()
    with pytest.raises(FileNotFoundError, match="00000-of-00006.tfrecord, 6 are expected"):
        TFRecordDataset(folder)
    (folder / "index.json").write_text(json.dumps({"shards": {}}))
    with pytest.raises(ValueError, match="it has no class_names"):
        TFRecordDataset(folder)
    (folder / "index.json").write_text("{")
    with pytest.raises(ValueError, match="not a JSON file"):
        TFRecordDataset(folder)


def test_other_channels_are_stored_as_they_are(deep_shapes, deep_config, tmp_path):
    dataset, config = deep_shapes(4, ".npy"), deep_config(4)
    records = write_tfrecords(dataset, tmp_path / "records", shards=1, mask_size=28)
    assert_same(records.batches(config), dataset.batches(config))
    with pytest.raises(ValueError, match="RGB 0..255; the config has 4 channels, 0..65535: leave"):
        records.batches(config, training=True, service="grpc://localhost:1")
