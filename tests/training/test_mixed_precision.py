"""Half precision learns as float32 does, and boxes are never in half precision."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.ops.boxes import decode_boxes
from keras_maskrcnn.training.optimizers import make_optimizer
from keras_maskrcnn.training.schedules import WarmupMultiStep

STEPS = 20


def losses_on_photos(shared, config, dtype):
    """The mean of each loss over steps on COCO's photos.

    The steps are short: long ones would carry runs that differ by a rounding apart.
    """
    keras.utils.set_random_seed(0)
    folder = shared / "data/coco_tiny"
    photos = km.data.CocoDataset(
        folder / "annotations/instances_train2017.json", folder / "train2017"
    )
    model = km.MaskRCNN(config, num_classes=80, class_names=photos.class_names, dtype=dtype)
    model.compile(make_optimizer("sgd", WarmupMultiStep(0.001, STEPS // 2)))
    batches = photos.batches(model.config, batch_size=4, training=True, seed=0).repeat()
    history = model.fit(batches, steps_per_epoch=STEPS, verbose=0, shuffle=False).history
    return {name: values[0] for name, values in history.items()}


@pytest.mark.slow
def test_losses_are_those_of_float32(shared, small_config):
    float32 = losses_on_photos(shared, small_config, "float32")
    for dtype in ("mixed_bfloat16", "mixed_float16"):
        half = losses_on_photos(shared, small_config, dtype)
        assert half["loss"] == pytest.approx(float32["loss"], rel=0.02)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_proposals_and_boxes_are_float32(small_config, batch, dtype, monkeypatch):
    """What is decoded, clipped, suppressed and sampled, and what comes of it."""
    model = km.MaskRCNN(small_config, dtype=dtype, box_score_threshold=0.0)
    decoded = []

    def decode(deltas, boxes, *weights):
        decoded.append((deltas.dtype, boxes.dtype))
        return decode_boxes(deltas, boxes, *weights)

    for module in ("keras_maskrcnn.rpn.proposals", "keras_maskrcnn.roi.detect"):
        monkeypatch.setattr(importlib.import_module(module), "decode_boxes", decode)
    stages = model.stages(batch[0])
    model.training_losses(*batch)
    assert len(decoded) == 11  # five levels of anchors, twice, and the detections
    assert {dtype for pair in decoded for dtype in pair} == {tf.float32}
    for name in ("proposals", "proposal_logits", "boxes", "scores"):
        assert stages[name].dtype == tf.float32
    assert stages["features"]["p2"].dtype == model.compute_dtype
    for value in model.training_losses(*batch).values():
        assert value.dtype == tf.float32


def test_half_precision_does_not_tie_the_anchors(small_config):
    """Tied logits would choose proposals by their place: the first rows of the image."""
    model = km.MaskRCNN(small_config, dtype="mixed_bfloat16")
    model.rpn_head.objectness.bias.assign(tf.fill(model.rpn_head.objectness.bias.shape, -4.0))
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    sizes = np.array([[64, 96]], np.int32)
    logits = model.run_rpn(model.extract_features(images, sizes))[0][0].numpy()
    assert len(np.unique(logits)) > 0.95 * logits.size


def test_a_step_that_overflows_is_skipped(small_config, batch):
    """float16: the weights stay, the loss scale is halved, and the next step moves them again."""
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(small_config, dtype="mixed_float16")
    model.compile(make_optimizer("sgd", 0.01))
    optimizer = model.optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    optimizer.build(model.trainable_weights)
    optimizer.dynamic_scale.assign(2.0**60)
    before = [weight.numpy() for weight in model.trainable_weights]
    logs = model.train_on_batch(*batch, return_dict=True)
    assert np.isfinite(list(logs.values())).all()
    for weight, value in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert float(optimizer.dynamic_scale) == 2.0**59
    assert int(optimizer.iterations) == 0
    optimizer.dynamic_scale.assign(2.0**8)
    model.train_on_batch(*batch)
    assert int(optimizer.iterations) == 1
    moved = [
        np.any(weight.numpy() != value)
        for weight, value in zip(model.trainable_weights, before, strict=True)
    ]
    assert np.mean(moved) > 0.9
