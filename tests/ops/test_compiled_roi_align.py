"""The compiled op as TensorFlow sees it: bad input, types, threads, and the file it comes from."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_maskrcnn.ops import compiled_roi_align
from keras_maskrcnn.ops.build import library_name
from keras_maskrcnn.ops.roi_align import roi_align

FEATURES, BOXES = np.ones((2, 6, 8, 3), np.float32), np.ones((2, 5, 4), np.float32)
ATTRIBUTES = {"output_size": 7, "strides": [4]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": BOXES[0]}, "boxes must be"),
        ({"boxes": BOXES[:, :, :3]}, "boxes must be"),
        ({"boxes": BOXES[:1]}, r"features\[0\] has a batch of 2, boxes one of 1"),
        ({"features": [FEATURES[0]]}, r"features\[0\] must be"),
        ({"features": [FEATURES[:, :0]]}, r"features\[0\] has no cells"),
        ({"features": [FEATURES, FEATURES[..., :2]], "strides": [4, 8]}, r"features\[1\] has 2 ch"),
        ({"strides": [4, 8]}, "strides must have one entry"),
        ({"strides": [0]}, r"strides\[0\]"),
        ({"features": [FEATURES, FEATURES], "strides": [4, 6]}, r"strides\[1\]"),
        ({"output_size": -7}, "output_size"),
        ({"output_size": 0}, "output_size"),
        ({"sampling_ratio": -1}, "sampling_ratio"),
        ({"sampling_ratio": 10_000}, "sampling_ratio"),
        ({"canonical_scale": 0.0}, "canonical_scale"),
        ({"aggregation": "median"}, "aggregation"),
        ({"output_size": 2_000_000_000}, "."),
    ],
)
def test_bad_input_is_an_invalid_argument(compiled_op, changes, message):
    arguments = {"features": [FEATURES], "boxes": BOXES, **ATTRIBUTES, **changes}
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
        compiled_op.keras_maskrcnn_roi_align(**arguments)


@pytest.mark.parametrize("name", ["features", "boxes"])
def test_wrong_types_are_refused(compiled_op, name):
    arguments = {"features": [FEATURES], "boxes": BOXES, **ATTRIBUTES}
    wrong = FEATURES.astype(np.int32)
    arguments[name] = [tf.constant(wrong)] if name == "features" else tf.constant(BOXES, tf.int32)
    with pytest.raises((tf.errors.InvalidArgumentError, TypeError, ValueError)):
        compiled_op.keras_maskrcnn_roi_align(**arguments)


def test_upstream_of_another_shape(compiled_op):
    with pytest.raises(tf.errors.InvalidArgumentError, match="upstream must be"):
        compiled_op.keras_maskrcnn_roi_align_grad(
            features=[],
            shapes=[FEATURES.shape],
            boxes=BOXES,
            upstream=np.ones((2, 5, 7, 6, 3), FEATURES.dtype),
            **ATTRIBUTES,
        )


def test_the_largest_of_a_bin_is_not_found_without_features(compiled_op):
    with pytest.raises(tf.errors.InvalidArgumentError, match="features must have the given shapes"):
        compiled_op.keras_maskrcnn_roi_align_grad(
            features=[],
            shapes=[FEATURES.shape],
            boxes=BOXES,
            upstream=np.ones((2, 5, 7, 7, FEATURES.shape[-1]), FEATURES.dtype),
            **ATTRIBUTES | {"aggregation": "max"},
        )


def test_shapes_are_known_before_it_runs(compiled_op):
    @tf.function(input_signature=[tf.TensorSpec((2, None, None, 16)), tf.TensorSpec((None, 5, 4))])
    def run(features, boxes):
        return compiled_op.keras_maskrcnn_roi_align(features=[features], boxes=boxes, **ATTRIBUTES)

    assert run.get_concrete_function().outputs[0].shape == (2, 5, 7, 7, 16)


def test_shapes_that_contradict_are_found_before_it_runs(compiled_op):
    run = tf.function(
        lambda boxes: compiled_op.keras_maskrcnn_roi_align(
            features=[FEATURES], boxes=boxes, **ATTRIBUTES
        )
    )
    with pytest.raises(ValueError, match="must be equal"):
        run.get_concrete_function(tf.TensorSpec((3, 5, 4)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_types_agree_with_float64(compiled_op, dtype):
    rng = np.random.default_rng(0)
    features = tf.cast(rng.normal(size=(1, 16, 20, 33)), dtype)
    boxes = np.array([[[3, 5, 40, 50], [-10, 0, 90, 30]]], np.float32)
    exact = roi_align([tf.cast(features, tf.float64)], boxes, [4], 5, implementation="compiled")
    ours = roi_align([features], boxes, [4], 5, implementation="compiled")
    assert ours.dtype == dtype
    tolerance = {"float16": 1e-3, "bfloat16": 8e-3}.get(dtype, 1e-6)
    np.testing.assert_allclose(tf.cast(ours, tf.float64), exact, atol=tolerance * 3)


def test_gradients_do_not_depend_on_the_run(compiled_op):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(2, 50, 70, 24)).astype(np.float32)
    corners = rng.uniform(0, 280, (2, 300, 2, 2))
    boxes = np.sort(corners, axis=2).reshape(2, 300, 4).astype(np.float32)
    upstream = rng.normal(size=(2, 300, 7, 7, 24)).astype(np.float32)
    arguments = {"features": [], "shapes": [features.shape], "boxes": boxes, **ATTRIBUTES}
    arguments["upstream"] = upstream
    first, *others = (
        compiled_op.keras_maskrcnn_roi_align_grad(**arguments)[0].numpy() for _ in range(5)
    )
    for other in others:
        np.testing.assert_array_equal(first, other)


numbers = st.one_of(
    st.floats(-500, 500, width=32),
    st.floats(width=32),
    st.integers(-300, 300).map(float),
)


@settings(deadline=None, max_examples=60)
@given(
    boxes=st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=8),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.integers(1, 40),
    batch=st.integers(1, 3),
    sampling_ratio=st.integers(0, 3),
    aggregation=st.sampled_from(["average", "max"]),
)
def test_any_boxes_on_any_map(
    compiled_op, boxes, height, width, channels, batch, sampling_ratio, aggregation
):
    boxes = np.tile(np.reshape(np.array(boxes, np.float32), (1, -1, 4)), (batch, 1, 1))
    features = np.random.default_rng(0).uniform(1, 2, (batch, height, width, channels))
    features = tf.constant(features, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = roi_align([features], boxes, [4], 3, sampling_ratio, True, aggregation, "compiled")
        total = tf.reduce_sum(pooled)
    gradient = tape.gradient(total, features)
    assert pooled.shape == (batch, boxes.shape[1], 3, 3, channels)
    assert np.all((pooled >= 0) & (pooled <= 2 * (1 + 1e-5)))
    # The output is linear in the features where it is a mean, and picks of them where a maximum.
    np.testing.assert_allclose(tf.reduce_sum(gradient * features), total, rtol=1e-3, atol=1e-3)


def test_a_missing_library_is_named_with_the_command_that_builds_it(tmp_path):
    library = compiled_roi_align.load(tmp_path / library_name(tf.__version__))
    assert library.ops is None
    assert f"this is TensorFlow {tf.__version__}" in library.description
    assert "keras-maskrcnn build-ops" in library.description


def test_an_unknown_tensorflow_is_told_which_ones_are_known(tmp_path, monkeypatch):
    for version in ("2.19.0", "2.18.1"):
        (tmp_path / library_name(version)).touch()
    monkeypatch.setattr(tf, "__version__", "2.99.0-rc1")
    library = compiled_roi_align.load(tmp_path / library_name(tf.__version__))
    assert library.ops is None
    assert "this is TensorFlow 2.99.0-rc1" in library.description
    assert "there for 2.18, 2.19;" in library.description
    assert "keras-maskrcnn build-ops" in library.description
    assert "\n" not in library.description


@pytest.mark.parametrize(
    ("version", "same"),
    [
        ("2.18.0", ["2.18.1"]),
        ("2.22.0-rc0", []),  # nobody promises anything of what is not released
        ("2.22.0-dev20261101", []),
        ("2.21.0+vendor", []),
    ],
)
def test_releases_of_a_minor_version_share_a_library(version, same):
    versions = ["2.18.0", "2.18.1", "2.19.0", "2.22.0", "2.22.0-rc0", "2.22.0-rc1", "2.21.0"]
    shared = [v for v in versions if v != version and library_name(v) == library_name(version)]
    assert shared == same


def test_a_library_for_another_tensorflow_is_not_loaded(compiled_op, tmp_path):
    built = compiled_roi_align.LIBRARY.read_bytes()
    (marker,) = re.findall(rb"built for TensorFlow \S+ ", built)
    path = tmp_path / compiled_roi_align.LIBRARY.name
    path.write_bytes(built.replace(marker, b"built for TensorFlow 1.15.5 "))
    library = compiled_roi_align.load(path)
    assert library.ops is None
    expected = f"{path.name} was built for TensorFlow 1.15.5, this is {tf.__version__}"
    assert expected in library.description


def test_a_file_that_is_no_library(tmp_path):
    path = tmp_path / library_name(tf.__version__)
    marker = f"keras_maskrcnn built for TensorFlow {tf.__version__} without CUDA."
    path.write_bytes(marker.encode())
    assert "cannot be loaded" in compiled_roi_align.load(path).description


def test_the_portable_version_takes_over_and_says_so_once(tmp_path):
    code = """
import pathlib, warnings
from keras_maskrcnn.ops import compiled_roi_align, roi_align
compiled_roi_align.load.__wrapped__.__defaults__ = (pathlib.Path("nowhere.so"),)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        roi_align.roi_align([[[[[1.0]]]]], [[[0.0, 0.0, 4.0, 4.0]]], [4], 2)
print([str(w.message) for w in caught if "RoIAlign is portable" in str(w.message)])
try:
    roi_align.roi_align([[[[[1.0]]]]], [[[0.0, 0.0, 4.0, 4.0]]], [4], 2, implementation="compiled")
except RuntimeError as error:
    print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("keras-maskrcnn build-ops") == 2
    assert "refused: portable" in done.stdout


@pytest.mark.parametrize("aggregation", ["average", "max"])
def test_gradients_in_a_graph(compiled_op, aggregation):
    """The shapes are known before it runs, and a mean's gradient does not keep the features."""

    @tf.function(input_signature=[tf.TensorSpec((2, None, 8, 3))])
    def gradient(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = roi_align(
                [features], BOXES, [4], 7, aggregation=aggregation, implementation="compiled"
            )
        return tape.gradient(pooled, features)

    function = gradient.get_concrete_function()
    assert function.outputs[0].shape.as_list() == [2, None, 8, 3]
    (op,) = [op for op in function.graph.get_operations() if op.type.endswith("RoiAlignGrad")]
    assert op.get_attr("num_features") == (aggregation == "max")
    np.testing.assert_allclose(tf.reduce_sum(gradient(FEATURES)), 2 * 5 * 49 * 3, rtol=1e-5)
