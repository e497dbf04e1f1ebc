import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.data.images import resized_shape


@pytest.fixture(scope="module")
def photos(shared):
    folder = shared / "data/coco_tiny"
    return km.data.CocoDataset(
        folder / "annotations/instances_train2017.json", folder / "train2017"
    )


@pytest.fixture
def small(tmp_path):
    """Five synthetic pictures that a test may break."""
    return km.data.shapes.generate(tmp_path, 5, size=64, seed=1)


@pytest.fixture(scope="module")
def config():
    return km.MaskRCNNConfig(image_min_size=128, image_max_size=192, gt_mask_size=28)


def test_contract(photos, config):
    batches = photos.batches(config, batch_size=4)
    seen = 0
    for x, y in batches:
        images, sizes = x["images"].numpy(), x["image_sizes"].numpy()
        number = len(images)
        assert images.dtype == np.float32
        assert images.shape[1:3] == tuple(sizes.max(axis=0))
        boxes, classes, masks = (y[name].numpy() for name in ("boxes", "classes", "masks"))
        assert boxes.shape == (number, classes.shape[1], 4)
        assert masks.shape == (number, classes.shape[1], 28, 28)
        assert masks.dtype == np.uint8
        for i, record in enumerate(photos.records[seen : seen + number]):
            assert tuple(sizes[i]) == resized_shape(record.height, record.width, 128, 192)
            assert not images[i, sizes[i][0] :].any()
            assert not images[i, :, sizes[i][1] :].any()
            objects = [instance for instance in record.instances if not instance.crowd]
            valid = classes[i] >= 0
            assert list(classes[i][valid]) == [instance.class_id for instance in objects]
            scale = np.tile(sizes[i][::-1] / (record.width, record.height), 2)
            expected = np.array([instance.box for instance in objects]).reshape(-1, 4) * scale
            np.testing.assert_allclose(boxes[i][valid], expected, atol=1e-3)
            assert not boxes[i][~valid].any()
        seen += number
    assert seen == len(photos) == 50
    assert int(batches.cardinality()) == 13


def test_masks_are_those_of_the_annotations(photos, config):
    for index, (_, y) in zip(range(6), photos.batches(config), strict=False):
        example = photos.example(index)
        expected = km.data.crop_masks(example["masks"].astype(np.uint8), example["boxes"], 28)
        valid = y["classes"][0].numpy() >= 0
        assert (y["masks"][0].numpy()[valid] == expected).mean() > 0.95


def test_same_seed_same_batches_and_epochs_differ(photos, config):
    def epochs(seed):
        batches = photos.batches(config, batch_size=8, training=True, seed=seed)
        return [[float(np.sum(x["images"])) for x, _ in batches] for _ in range(2)]

    first = epochs(3)
    assert first == epochs(3)
    assert first[0] != first[1]
    assert first != epochs(4)
    assert len(first[0]) == 6  # of 50 pictures, the last two have no full batch


def test_order_is_no_affair_of_the_global_seed(photos, config):
    def order():
        batches = photos.batches(config, training=True, seed=3)
        return [float(np.sum(x["images"])) for x, _ in batches]

    first = order()
    tf.random.set_seed(9)
    assert order() == first


def assert_same(batches, expected):
    batches, expected = list(batches), list(expected)
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, batch, other)


@pytest.mark.parametrize(("start", "epoch", "step"), [(4, 0, 4), (6, 1, 0), (14, 2, 2)])
def test_start_goes_on_where_another_stopped(photos, config, start, epoch, step):
    whole = photos.batches(config, batch_size=8, training=True, seed=1)
    epochs = [list(whole) for _ in range(4)]
    rest = photos.batches(config, batch_size=8, training=True, seed=1, start=start)
    assert_same(rest, epochs[epoch][step:])
    assert_same(rest, epochs[epoch + 1])


def test_start_without_training(photos, config):
    batches = photos.batches(config, batch_size=8, start=5)
    assert_same(batches, list(photos.batches(config, batch_size=8))[5:])


def test_start_decodes_nothing_of_what_is_skipped(photos, config, monkeypatch):
    read = []
    original = km.data.Record.read_image
    monkeypatch.setattr(
        km.data.Record, "read_image", lambda self: (read.append(self), original(self))[1]
    )
    assert len(list(photos.batches(config, batch_size=8, training=True, start=4))) == 2
    assert len(read) <= 2 * 8 + 2  # the last two have no full batch


@pytest.mark.parametrize("batch_size", [1, 3, 4, 7])
def test_batches_have_one_shape_and_leave_none_out(photos, config, batch_size):
    batches = photos.batches(config, batch_size=batch_size, training=True, seed=5)
    number = len(photos) // batch_size
    assert int(batches.cardinality()) == number
    for _ in range(2):
        sizes = [x["image_sizes"].numpy() for x, _ in batches]
        assert len(sizes) == number
        mixed = [len({bool(width > height) for height, width in batch}) > 1 for batch in sizes]
        assert sum(mixed) <= 1
        assert not any(mixed[:-2])
        padded = sum(len(batch) * batch.max(0).prod() for batch in sizes)
        assert sum(batch.prod(1).sum() for batch in sizes) > 0.8 * padded
    seen = [float(np.sum(x["images"])) for x, _ in photos.batches(config, training=True)]
    plain = [float(np.sum(x["images"])) for x, _ in photos.batches(config)]
    np.testing.assert_allclose(sorted(seen), sorted(plain), rtol=1e-6)


def padding(batches):
    """The share of the pixels of batches that is padding."""
    sizes = [x["image_sizes"].numpy() for x, _ in batches]
    padded = sum(len(batch) * batch.max(axis=0).prod() for batch in sizes)
    return 1 - sum(batch.prod(axis=1).sum() for batch in sizes) / padded


@pytest.mark.parametrize("norm", ["frozen_batch_norm", "group_norm"])
def test_little_padding_where_the_batch_is_no_affair_of_the_norms(photos, config, norm):
    config = config.replace(norm=norm)
    assert not config.trains_batch_norms
    batches = photos.batches(config, batch_size=4, training=True, seed=5)
    assert sum(padding(batches) for _ in range(3)) / 3 < 0.15


@pytest.mark.parametrize(
    "norms", [{"norm": "batch_norm"}, {"norm": "frozen_batch_norm", "head_norm": "batch_norm"}]
)
def test_each_batch_has_its_share_of_each_kind_where_batch_norms_train(photos, config, norms):
    config = config.replace(**norms)
    batches = photos.batches(config, batch_size=7, training=True, seed=5)
    share = np.mean([record.width > record.height for record in photos.records])
    orders = []
    for _ in range(2):
        sizes = [x["image_sizes"].numpy() for x, _ in batches]
        numbers = [int(np.sum(size[:, 1] > size[:, 0])) for size in sizes]
        assert max(abs(number - 7 * share) for number in numbers) < 1.5
        orders.append(np.concatenate(sizes).tolist())
        assert padding(batches) > 0.15  # the price
    assert orders[0] != orders[1]
    seen = [float(np.sum(x["images"])) for x, _ in photos.batches(config, training=True)]
    plain = [float(np.sum(x["images"])) for x, _ in photos.batches(config)]
    np.testing.assert_allclose(sorted(seen), sorted(plain), rtol=1e-6)


def test_pictures_of_one_shape_come_in_one_order_with_any_norm(small, small_config):
    orders, classes = [], {"num_classes": 6, "class_names": small.class_names}
    for norm in ("batch_norm", "group_norm"):
        config = small_config.replace(norm=norm, head_norm="none", backbone_width=32, **classes)
        orders.append([x["images"].numpy() for x, _ in small.batches(config, 2, training=True)])
    np.testing.assert_array_equal(*orders)


def test_augmentation_takes_the_place_of_resizing(photos, config):
    seeds = []

    def augmentation(element, seed):
        assert {name: value.shape.rank for name, value in element.items()} == {
            "image": 3,
            "boxes": 2,
            "classes": 1,
            "masks": 3,
        }
        tf.py_function(lambda value: seeds.append(tuple(value.numpy())), [seed], [])
        offset = tf.constant([10.0, 20.0, 10.0, 20.0])
        return {
            **element,
            "image": element["image"][20:120, 10:90],
            "boxes": element["boxes"][:2] - offset,
            "classes": element["classes"][:2],
            "masks": element["masks"][:2],
        }

    for index, (x, y) in enumerate(photos.batches(config, augmentation=augmentation).take(5)):
        example = photos.example(index)
        np.testing.assert_array_equal(x["images"][0], example["image"][20:120, 10:90])
        np.testing.assert_array_equal(x["image_sizes"], [[100, 80]])
        shifted = example["boxes"][:2] - (10, 20, 10, 20)
        np.testing.assert_allclose(y["boxes"][0], shifted, atol=1e-4)
        np.testing.assert_array_equal(y["classes"][0], example["class_ids"][:2])
    assert len(set(seeds)) == len(seeds) >= 5


def test_augmentation_may_drop_all_objects(photos, config):
    def augmentation(element, seed):
        return {**element, **{n: element[n][:0] for n in ("boxes", "classes", "masks")}}

    x, y = next(iter(photos.batches(config, batch_size=2, augmentation=augmentation)))
    np.testing.assert_array_equal(y["classes"], [[-1], [-1]])
    assert y["boxes"].shape == (2, 1, 4)
    assert y["masks"].shape == (2, 1, 28, 28)
    assert x["images"].dtype == tf.float32


def test_wrong_calls(photos, config):
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        photos.batches(config, batch_size=0)
    with pytest.raises(ValueError, match="start at least 0"):
        photos.batches(config, start=-1)


def test_flip_takes_boxes_and_masks_along(photos, config):
    plain = {float(np.sum(x["images"])): (x, y) for x, y in photos.batches(config)}
    flipped = 0
    for x, y in photos.batches(config, training=True, seed=0):
        original, targets = plain[float(np.sum(x["images"]))]
        if np.array_equal(x["images"], original["images"]):
            continue
        flipped += 1
        np.testing.assert_array_equal(x["images"], original["images"][:, :, ::-1])
        if targets["classes"][0, 0] < 0:
            continue
        width = float(x["image_sizes"][0, 1])
        boxes = np.array(targets["boxes"])
        boxes[..., [0, 2]] = width - boxes[..., [2, 0]]
        np.testing.assert_allclose(y["boxes"], boxes, atol=1e-3)
        np.testing.assert_array_equal(y["masks"], targets["masks"].numpy()[..., ::-1])
    assert 10 < flipped < 40


def test_crowds_stay_out(photos, config):
    crowded = [i for i, r in enumerate(photos.records) if any(o.crowd for o in r.instances)]
    batches = list(photos.batches(config))
    for index in crowded:
        objects = sum(not instance.crowd for instance in photos.records[index].instances)
        assert int(np.sum(batches[index][1]["classes"] >= 0)) == objects


def test_at_most_so_many_objects(photos, config):
    config = config.replace(max_gt_boxes=3)
    for training in (False, True):
        for _, y in photos.batches(config, training=training):
            assert y["classes"].shape[1] <= 3


def test_without_masks(photos, config):
    _, y = next(iter(photos.batches(config.replace(mask=False))))
    assert set(y) == {"boxes", "classes"}


def test_fewer_pictures_than_a_batch(small, config):
    x, _ = next(iter(small.batches(config, batch_size=8, training=True)))
    assert x["images"].shape[0] == 5


def test_image_without_objects(small, config):
    path = pathlib.Path(small.source)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "annotations": []}))
    dataset = km.data.CocoDataset(path, path.parent / "images")
    _, y = next(iter(dataset.batches(config, batch_size=2)))
    np.testing.assert_array_equal(y["classes"], [[-1], [-1]])


def break_file(path, how):
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "missing":
        path.unlink()
    else:
        km.data.shapes.generate(path.parent.parent / "other", 1, size=96)
        path.write_bytes((path.parent.parent / "other/images/000000.jpg").read_bytes())


@pytest.mark.parametrize("how", ["truncated", "empty", "missing", "of another size"])
def test_bad_picture_is_listed_and_the_next_takes_its_place(small, config, how):
    bad = pathlib.Path(small.records[2].path)
    break_file(bad, how)
    batches = list(small.batches(config))
    assert len(batches) == 5
    np.testing.assert_array_equal(batches[2][0]["images"], batches[3][0]["images"])
    assert [problem.where for problem in small.problems] == [str(bad)]
    list(small.batches(config))
    assert len(small.problems) == 1  # each once, however often it is met


def test_broken_rle_is_listed_and_left_out(small, config):
    segmentation = small.records[0].instances[0].segmentation
    segmentation["counts"] = [5]
    valid = [int(np.sum(y["classes"] >= 0)) for _, y in small.batches(config)]
    assert valid[0] == len(small.records[0].instances) - 1
    assert "runs add up to 5" in small.problem_report()


def test_no_picture_can_be_read(small, config):
    for record in small.records:
        break_file(pathlib.Path(record.path), "empty")
    with pytest.raises(Exception, match="No image can be read"):
        next(iter(small.batches(config)))


@pytest.mark.slow
def test_training_runs_through_bad_records(small, small_config):

    break_file(pathlib.Path(small.records[1].path), "truncated")
    model = km.MaskRCNN(small_config, num_classes=6, class_names=small.class_names)
    model.compile(optimizer=keras.optimizers.SGD(0.001))
    batches = small.batches(model.config, batch_size=2, training=True)
    history = model.fit(batches, epochs=2, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"]).all()
    assert len(small.problems) == 1


@pytest.mark.parametrize(
    ("channels", "ending"), [(1, ".npy"), (4, ".npy"), (1, ".tif"), (4, ".tif")]
)
def test_batches_of_other_channels(deep_shapes, deep_config, channels, ending):
    dataset = deep_shapes(channels, ending)
    config = deep_config(channels).replace(image_min_size=32, image_max_size=32)
    ((x, y),) = dataset.batches(config, batch_size=3)
    assert x["images"].shape == (3, 32, 32, channels)
    assert x["images"].dtype == tf.float32
    for image, record in zip(x["images"].numpy(), dataset.records, strict=True):
        stored = record.read_pixels(config)
        # From 64 to 32 each pixel is the mean of four.
        means = stored.reshape(32, 2, 32, 2, channels).mean(axis=(1, 3))
        np.testing.assert_allclose(image, means, atol=0.1)
    assert set(y) == {"boxes", "classes", "masks"}
    assert not dataset.problems


def test_training_flips_and_crops_other_channels(deep_shapes, deep_config):
    dataset, config = deep_shapes(4, ".npy"), deep_config(4)
    whole = [record.read_pixels(config) for record in dataset.records]
    for x, _ in dataset.batches(config, training=True):
        image = x["images"][0].numpy()
        assert any(np.array_equal(image, view) for p in whole for view in (p, p[:, ::-1]))
    for x, _ in dataset.batches(config, training=True, crop_size=32):
        assert x["images"].shape == (1, 64, 64, 4)


def test_images_of_other_channels_than_the_config_says_are_listed(deep_shapes, deep_config):
    dataset = deep_shapes(4, ".tif")
    dataset = km.data.CocoDataset(dataset.source, pathlib.Path(dataset.source).parent)
    with pytest.raises(tf.errors.OpError, match="No image can be read"):
        list(dataset.batches(deep_config(1)))
    assert len(dataset.problems) == 3
    assert "must be (H, W, 1), 1 channel, 0..65535; got shape (64, 64, 4) uint16" in str(
        dataset.problems[0]
    )
