"""The LiteRT file, run by LiteRT's interpreter, against the model itself.

That interpreter has no operator of TensorFlow's: that it runs a file shows that there is none.
"""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from keras_maskrcnn.export.litert_ops import keep, roi_align
from keras_maskrcnn.ops.nms import batched_nms
from keras_maskrcnn.roi import RoIAlign


@pytest.fixture
def run(tmp_path):
    """A function: the outputs by name of an exported model for a batch of one image."""

    def of_batch(model, x, **options):
        image_size = x["images"].shape[1:3]
        model.export(tmp_path / "m.tflite", format="litert", image_size=image_size, **options)
        return Interpreter(str(tmp_path / "m.tflite")).get_signature_runner()(**x)

    return of_batch


def test_same_detections(model_of_each_kind, run, make_batch, assert_same):
    x = make_batch(1, 70, 91, model_of_each_kind.config)
    assert_same(model_of_each_kind, x, run(model_of_each_kind, x))


@pytest.mark.slow
def test_every_architecture(model_of_each_architecture, run, make_batch, assert_same):
    x = make_batch(1, 64, 96)
    assert_same(model_of_each_architecture, x, run(model_of_each_architecture, x))


@pytest.mark.slow
def test_image_in_which_nothing_is_found(small_model, run, make_batch, assert_same):
    model, x = small_model(box_score_threshold=0.999), make_batch(1, 64, 96)
    assert_same(model, x, run(model, x), found=False)


@pytest.fixture(scope="module")
def wide(small_model, tmp_path_factory):
    """A model most of whose file is weights, and that file, of the default size."""
    model, path = small_model(backbone_width=32), tmp_path_factory.mktemp("litert") / "m.tflite"
    model.export(path, format="litert")
    return model, path


def test_default_size_is_that_of_the_config(wide):
    runner = Interpreter(str(wide[1])).get_signature_runner()
    assert runner.get_input_details()["images"]["shape"].tolist() == [1, 64, 96, 3]


def test_dynamic_int8_is_small_and_close(wide, run, make_batch, tmp_path):
    (model, path), x = wide, make_batch(1, 64, 96)
    exact = Interpreter(str(path)).get_signature_runner()(**x)
    quantized = run(model, x, quantize="dynamic_int8")
    assert (tmp_path / "m.tflite").stat().st_size < 0.35 * path.stat().st_size
    assert abs(quantized["num_detections"] - exact["num_detections"])[0] <= 2
    assert np.abs(quantized["scores"] - exact["scores"]).max() < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": (0, 64)}, r"image_size must be .* got \(0, 64\)"),
        ({"quantize": "int4"}, "quantize must be one of .* got 'int4'"),
    ],
)
def test_impossible_options(small_model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        small_model().export(tmp_path / "m.tflite", format="litert", **options)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("levels", [1, 4])
def test_roi_align(sampling_ratio, aligned, levels):
    rng = np.random.default_rng(0)
    strides = (4, 8, 16, 32)[:levels]
    features = [
        tf.constant(rng.normal(size=(1, 96 // s, 160 // s, 5)), tf.float32) for s in strides
    ]
    corners = rng.uniform(-40, 200, (1, 40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 150, (1, 40, 2))], axis=-1)
    boxes = boxes.astype(np.float32)
    layer = RoIAlign(7, strides, sampling_ratio, aligned, implementation="portable")
    traced = tf.function(lambda features, boxes: roi_align(layer, features, boxes), autograph=False)
    boxes[0, :3] = [[30, 40, 30, 40], [0, 0, 0, 0], [500, 500, 600, 600]]
    np.testing.assert_allclose(traced(features, boxes), layer(features, boxes), atol=1e-4)


def test_keep():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (3, 40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 30, (3, 40, 2))], axis=-1)
    boxes, scores = boxes.astype(np.float32), rng.uniform(-0.4, 1, (3, 40)).astype(np.float32)
    kept = keep(boxes, scores, 0.5, 40).numpy()
    *_, count = batched_nms(boxes[:, :, None], scores[..., None], 0.5, 40, 40)
    assert kept.sum(axis=1).tolist() == count.numpy().tolist()
    _, expected, *_ = batched_nms(boxes[:, :, None], scores[..., None], 0.5, 40, 40)
    for row in range(3):
        chosen = np.sort(scores[row, kept[row]])[::-1]
        np.testing.assert_array_equal(chosen, expected[row, : count[row]])
