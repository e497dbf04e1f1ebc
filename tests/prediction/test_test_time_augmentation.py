"""Test-time augmentation against its definition, written out with a model for each view."""

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.data.images import resize_image, resized_shape
from keras_maskrcnn.ops.boxes import box_iou
from keras_maskrcnn.prediction import test_time_augmentation
from keras_maskrcnn.prediction.test_time_augmentation import View, make_views


@pytest.fixture(scope="module")
def model(small_config):
    keras.utils.set_random_seed(0)
    return km.MaskRCNN(small_config, box_score_threshold=0.0)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)


@pytest.fixture(scope="module", autouse=True)
def scales():
    """Three of the nine, of which the definition makes a model each."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        few = test_time_augmentation.SCALES[::4]
        monkeypatch.setattr(test_time_augmentation, "SCALES", few)
        yield few


@pytest.fixture(scope="module")
def found(model, image):
    return model.predict([image], augment=True, verbose=0)[0]


ALL_SCALES = test_time_augmentation.SCALES


def mirrored(boxes, width):
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def at_scale(model, scale):
    size = round(scale * model.config.image_min_size)
    scaled = km.MaskRCNN(model.config.replace(image_min_size=size, image_max_size=4 * size))
    scaled.set_weights(model.get_weights())
    return scaled


def scaled_batch(config, image):
    height, width = image.shape[:2]
    size = resized_shape(height, width, config.image_min_size, config.image_max_size)
    return tf.constant(resize_image(np.ascontiguousarray(image), size).astype(np.float32))[None]


def suppressed(boxes, scores, classes, threshold):
    """Indices that greedy suppression within each class keeps, best first."""
    iou = box_iou(tf.constant(boxes), tf.constant(boxes)).numpy()
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if not any(classes[i] == classes[j] and iou[i, j] > threshold for j in kept):
            kept.append(i)
    return kept


@pytest.fixture(scope="module")
def views(model, image, scales):
    """For each scale: the model that resizes to it, and whether the image is mirrored."""
    models = [at_scale(model, scale) for scale in scales]
    return [(scaled, mirror) for scaled in models for mirror in (False, True)]


def test_boxes_of_all_views_are_merged_per_class(model, image, views, found):
    parts = []
    for scaled, mirror in views:
        one = scaled.predict([image[:, ::-1] if mirror else image], verbose=0)[0]
        boxes = mirrored(one.boxes, image.shape[1]) if mirror else one.boxes
        parts.append((boxes, one.scores, one.class_ids))
    boxes, scores, classes = (np.concatenate(part) for part in zip(*parts, strict=True))
    kept = suppressed(boxes, scores, classes, model.config.box_nms_threshold)[: len(found)]
    assert len(found) == model.config.box_detections_per_image
    np.testing.assert_allclose(found.scores, scores[kept], atol=1e-5)
    np.testing.assert_allclose(found.boxes, boxes[kept], atol=1e-2)
    np.testing.assert_array_equal(found.class_ids, classes[kept])


def test_masks_are_the_mean_of_all_views(image, views, found):
    total = 0
    for scaled, mirror in views:
        batch = scaled_batch(scaled.config, image[:, ::-1] if mirror else image)
        height, width = batch.shape[1:3]
        boxes = mirrored(found.boxes, image.shape[1]) if mirror else found.boxes
        boxes = boxes * np.array([width / image.shape[1], height / image.shape[0]] * 2, np.float32)
        features = scaled.extract_features(batch, tf.constant([[height, width]]))
        logits = scaled.run_mask_branch(features, boxes[None], found.class_ids[None])[0]
        masks = tf.sigmoid(logits).numpy()
        total = total + (masks[:, :, ::-1] if mirror else masks)
    np.testing.assert_allclose(found.box_masks, total / len(views), atol=1e-4)


def test_a_mirrored_image_has_mirrored_detections(model, image, found):
    other = model.predict([image[:, ::-1]], augment=True, verbose=0)[0]
    np.testing.assert_allclose(other.scores, found.scores, atol=1e-4)
    np.testing.assert_allclose(mirrored(other.boxes, image.shape[1]), found.boxes, atol=0.05)
    np.testing.assert_allclose(other.box_masks[:, :, ::-1], found.box_masks, atol=1e-3)


def test_sizes_are_those_of_detectron2(monkeypatch):
    monkeypatch.setattr(test_time_augmentation, "SCALES", ALL_SCALES)
    views = make_views(km.MaskRCNNConfig(), 480, 640)
    heights = [view.size[0] for view in views if not view.mirrored]
    assert heights == [400, 500, 600, 700, 800, 900, 1000, 1100, 1200]
    assert [view.size for view in views if view.mirrored] == [v.size for v in views[::2]]
    assert max(make_views(km.MaskRCNNConfig(), 100, 2000)[-1].size) == 3999


@pytest.mark.parametrize("mirror", [False, True])
def test_boxes_go_there_and_back(mirror):
    view = View((40, 60), (80, 90), mirror)
    boxes = np.array([[0.0, 0.0, 60.0, 40.0], [6.0, 10.0, 20.0, 30.0]])
    expected = [[60, 20, 81, 60], [9, 20, 30, 60]][0 if mirror else 1]
    np.testing.assert_allclose(view.boxes(boxes), [[0, 0, 90, 80], expected])
    np.testing.assert_allclose(view.original_boxes(view.boxes(boxes)), boxes)


def test_paths_arrays_and_datasets(small_config, image, tmp_path):
    model = km.MaskRCNN(small_config, mask=False, box_score_threshold=0.0)
    cv2.imwrite(str(tmp_path / "a.png"), image[:, :, ::-1])
    images = tf.data.Dataset.from_tensors(image)
    for x in (tmp_path / "a.png", image, image[None], images):
        one, *others = model.predict(x, augment=True, verbose=0)
        assert not others
        assert one.image_size == (64, 48)
        assert one.box_masks is None
    assert model.predict([], augment=True, verbose=0) == []


def test_nothing_found(small_config, image):
    model = km.MaskRCNN(small_config, box_score_threshold=1.0)
    found = model.predict([image], augment=True, verbose=0)[0]
    assert found.masks.shape == (0, 64, 48)


def test_refused(model, image, batch):
    for x in (batch[0], tf.data.Dataset.from_tensors(batch[0])):
        with pytest.raises(ValueError, match="give paths or arrays"):
            model.predict(x, augment=True, verbose=0)
    with pytest.raises(ValueError, match="leave out steps and callbacks"):
        model.predict([image], steps=1, augment=True, verbose=0)
    with pytest.raises(ValueError, match=r"image 1 must be \(H, W, 3\)"):
        model.predict([image, image[0]], augment=True, verbose=0)
