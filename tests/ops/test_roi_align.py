"""RoIAlign and RoIPool, compiled and portable, against torchvision and against definitions."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.ops import portable_roi_align
from keras_maskrcnn.ops.roi_align import assign_levels, roi_align, roi_pool

CASES = [
    (size, aligned, sampling)
    for size in (7, 14)
    for aligned in (True, False)
    for sampling in (0, 1, 2, 3)
]
# Overlapping, larger than the map, outside, tiny, empty, inverted: in pixels of a 48x64 image.
BOXES = np.array(
    [
        [4.3, 6.1, 30.7, 41.9],
        [-20.0, -30.0, 90.0, 70.0],
        [100.0, 100.0, 130.0, 140.0],
        [10.0, 10.0, 10.4, 10.9],
        [20.0, 20.0, 20.0, 20.0],
        [40.0, 30.0, 10.0, 5.0],
        [0.0, 0.0, 64.0, 48.0],
    ],
    np.float32,
)


@pytest.fixture(params=["compiled", "portable"])
def implementation(request):
    if request.param == "compiled":
        request.getfixturevalue("compiled_op")
    return request.param


@pytest.fixture
def align(implementation):
    return functools.partial(roi_align, implementation=implementation)


@pytest.fixture
def pool(implementation):
    return functools.partial(roi_pool, implementation=implementation)


def random_features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def sample(features, y, x):
    """Bilinear value (C,) of a map (H, W, C) at a point; 0 more than a cell outside."""
    height, width, _ = features.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(features.shape[-1])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    ly, lx = y - top, x - left
    upper = features[top, left] * (1 - lx) + features[top, right] * lx
    lower = features[bottom, left] * (1 - lx) + features[bottom, right] * lx
    return upper * (1 - ly) + lower * ly


def roi_align_of_one(features, box, stride, bins, sampling_ratio, aligned, aggregation):
    """(bins, bins, C): the definition, one sample after the other."""
    x0, y0, x1, y1 = (float(value) / stride - (0.5 if aligned else 0) for value in box)
    height, width = (y1 - y0, x1 - x0) if aligned else (max(y1 - y0, 1), max(x1 - x0, 1))
    rows = sampling_ratio or max(math.ceil(height / bins), 0)
    columns = sampling_ratio or max(math.ceil(width / bins), 0)
    output = np.zeros((bins, bins, features.shape[-1]))
    for i, j in np.ndindex(bins, bins):
        samples = [
            sample(
                features,
                y0 + (i + (r + 0.5) / rows) * height / bins,
                x0 + (j + (c + 0.5) / columns) * width / bins,
            )
            for r in range(rows)
            for c in range(columns)
        ]
        if samples:
            output[i, j] = np.mean(samples, 0) if aggregation == "average" else np.max(samples, 0)
    return output


def gradient_of(align, features, boxes, upstream, **arguments):
    """The features' gradients where the output's is `upstream`."""
    features = [tf.constant(level) for level in features]
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = align(features, boxes, **arguments)
        total = tf.reduce_sum(tf.cast(pooled, tf.float32) * upstream)
    return [gradient.numpy() for gradient in tape.gradient(total, features)]


def assert_close(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(scope="module")
def goldens(shared):
    """torchvision's numbers, and its boxes by image: (2, R, 4), padded, and who is where."""
    goldens = np.load(shared / "goldens" / "ops.npz")
    batch_index = goldens["batch_index"]
    rows = np.zeros(len(batch_index), int)
    for image in range(2):
        rows[batch_index == image] = np.arange((batch_index == image).sum())
    boxes = np.zeros((2, rows.max() + 1, 4), np.float32)
    boxes[batch_index, rows] = goldens["boxes_xyxy"]
    return goldens, boxes, (batch_index, rows)


@pytest.mark.parametrize(("size", "aligned", "sampling"), CASES)
def test_agrees_with_torchvision(align, goldens, size, aligned, sampling):
    goldens, boxes, position = goldens
    case = f"roi_align/size{size}_aligned{int(aligned)}_sampling{sampling}"
    features = goldens["features_nhwc"]
    arguments = {
        "strides": [round(1 / float(goldens["spatial_scale"]))],
        "output_size": size,
        "sampling_ratio": sampling,
        "aligned": aligned,
    }
    pooled = align([features], boxes, **arguments).numpy()[position]
    assert_close(pooled[:, ::5, ::5] if size == 14 else pooled, goldens[f"{case}/output"])

    drawn = np.random.default_rng(7).normal(size=(len(pooled), features.shape[-1], size, size))
    upstream = np.zeros((*boxes.shape[:2], size, size, features.shape[-1]), np.float32)
    upstream[position] = drawn.astype(np.float32).transpose(0, 2, 3, 1)
    gradient = gradient_of(align, [features], boxes, upstream, **arguments)[0]
    assert_close(gradient, goldens[f"{case}/feature_gradient"])


@pytest.mark.parametrize("aggregation", ["average", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling", [0, 2])
def test_agrees_with_the_definition(align, aggregation, aligned, sampling):
    features = random_features(1, 12, 16, 3)
    pooled = align([features], BOXES[None], [4], 3, sampling, aligned, aggregation)
    expected = [
        roi_align_of_one(features[0], box, 4, 3, sampling, aligned, aggregation) for box in BOXES
    ]
    assert_close(pooled[0].numpy(), np.array(expected))


@pytest.mark.parametrize("sampling", [0, 2])
def test_gradient_of_max_is_the_slope(align, sampling):
    features = random_features(1, 6, 8, 1)
    boxes = np.array([[[2.0, 3.0, 19.0, 20.0], [-5.0, 8.0, 40.0, 11.0]]], np.float32)
    arguments = {"strides": [4], "output_size": 2, "sampling_ratio": sampling}
    arguments["aggregation"] = "max"
    upstream = random_features(1, 2, 2, 2, 1, seed=1)
    gradient = gradient_of(align, [features], boxes, upstream, **arguments)[0]
    step = 1e-3
    slopes = np.zeros_like(features)
    for cell in np.ndindex(features.shape):
        change = np.zeros_like(features)
        change[cell] = step
        above = align([features + change], boxes, **arguments)
        below = align([features - change], boxes, **arguments)
        slopes[cell] = np.sum((above - below) * upstream) / (2 * step)
    np.testing.assert_allclose(gradient, slopes, atol=5e-3)
    assert np.abs(gradient).max() > 0.1


@pytest.mark.parametrize(
    ("side", "level"),
    [(0, 2), (1, 2), (111, 2), (112, 3), (223, 3), (224, 4), (447, 4), (448, 5), (5000, 5)],
)
def test_level_of_a_box(side, level):
    boxes = tf.constant([[10.0, 10.0, 10.0 + side / 2, 10.0 + side * 2]])
    assert assign_levels(boxes, 2, 5).numpy().tolist() == [level]


def test_levels_follow_the_formula():
    rng = np.random.default_rng(2)
    start, sides = rng.uniform(0, 500, (2, 50, 2)), np.exp(rng.uniform(0, 8, (2, 50, 2)))
    boxes = np.concatenate([start, start + sides], axis=-1).astype(np.float32)
    expected = np.floor(4 + np.log2(np.sqrt(sides[..., 0] * sides[..., 1]) / 224 + 1e-8))
    np.testing.assert_array_equal(assign_levels(boxes, 2, 5), np.clip(expected, 2, 5))


@pytest.mark.parametrize("sampling", [0, 2])
def test_each_box_is_pooled_on_its_level(align, sampling):
    pyramid = [random_features(2, 64 // 2**i, 96 // 2**i, 3, seed=i) for i in range(4)]
    rng = np.random.default_rng(3)
    start, sides = rng.uniform(0, 200, (2, 20, 2)), np.exp(rng.uniform(3, 7, (2, 20, 2)))
    boxes = np.concatenate([start, start + sides], axis=-1).astype(np.float32)
    levels = assign_levels(boxes, 2, 5).numpy() - 2
    assert set(levels.ravel()) == {0, 1, 2, 3}
    strides = (4, 8, 16, 32)
    pooled = align(pyramid, boxes, strides, 3, sampling).numpy()
    upstream = random_features(*pooled.shape, seed=9)
    gradients = gradient_of(
        align, pyramid, boxes, upstream, strides=strides, output_size=3, sampling_ratio=sampling
    )
    for i, (level, stride) in enumerate(zip(pyramid, strides, strict=True)):
        alone = align([level], boxes, [stride], 3, sampling).numpy()
        np.testing.assert_allclose(pooled[levels == i], alone[levels == i], atol=1e-5)
        of_level = np.where((levels == i)[..., None, None, None], upstream, 0)
        gradient = gradient_of(
            align,
            [level],
            boxes,
            of_level,
            strides=[stride],
            output_size=3,
            sampling_ratio=sampling,
        )
        np.testing.assert_allclose(gradients[i], gradient[0], atol=1e-4)


@pytest.mark.parametrize("aggregation", ["average", "max"])
@pytest.mark.parametrize("sampling", [0, 2])
def test_chunks_change_nothing(monkeypatch, aggregation, sampling):
    features = [random_features(2, 12, 16, 3)]
    boxes = np.stack([BOXES, BOXES[::-1]])
    upstream = random_features(2, len(BOXES), 3, 3, 3, seed=1)
    arguments = {"strides": [4], "output_size": 3, "sampling_ratio": sampling}
    arguments["aggregation"] = aggregation
    align = functools.partial(roi_align, implementation="portable")

    def run():
        pooled = align(features, boxes, **arguments)
        return [pooled.numpy(), *gradient_of(align, features, boxes, upstream, **arguments)]

    whole = run()
    monkeypatch.setattr(portable_roi_align, "CELLS_PER_CHUNK", 4 * 36 * 3)
    monkeypatch.setattr(portable_roi_align, "ROIS_PER_ADAPTIVE_CHUNK", 3)
    for ours, expected in zip(run(), whole, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("aggregation", ["average", "max"])
def test_half_precision_is_close_to_float32(align, dtype, tolerance, aggregation):
    features = random_features(1, 12, 16, 3)
    arguments = {"strides": [4], "output_size": 3, "aggregation": aggregation}
    half = tf.cast(features, dtype)
    pooled = align([half], BOXES[None], **arguments)
    assert pooled.dtype == dtype
    expected = align([tf.cast(half, tf.float32)], BOXES[None], **arguments)
    np.testing.assert_allclose(tf.cast(pooled, tf.float32), expected, rtol=tolerance, atol=1e-3)
    upstream = random_features(*pooled.shape, seed=1)
    gradient = gradient_of(align, [half], BOXES[None], upstream, **arguments)[0]
    assert gradient.dtype == half.dtype.as_numpy_dtype
    expected = gradient_of(align, [tf.cast(half, tf.float32)], BOXES[None], upstream, **arguments)[
        0
    ]
    np.testing.assert_allclose(gradient.astype(np.float32), expected, rtol=0.02, atol=0.03)


@pytest.mark.parametrize("sampling", [0, 2])
def test_no_boxes_give_an_empty_output_and_no_gradient(align, sampling):
    features, boxes = random_features(2, 6, 8, 3), np.zeros((2, 0, 4), np.float32)
    arguments = {"strides": [4], "output_size": 7, "sampling_ratio": sampling}
    assert align([features], boxes, **arguments).shape == (2, 0, 7, 7, 3)
    gradient = gradient_of(align, [features], boxes, np.zeros((2, 0, 7, 7, 3)), **arguments)[0]
    np.testing.assert_array_equal(gradient, np.zeros_like(features))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("sampling", [0, 2])
@pytest.mark.parametrize("aggregation", ["average", "max"])
def test_a_box_that_is_no_number_leaves_the_others_alone(align, bad, sampling, aggregation):
    pyramid = [random_features(1, 12, 16, 3), random_features(1, 6, 8, 3)]
    boxes = np.array([[[4, 4, 30, 40], [2, 2, 9, 9]]], np.float32)
    expected = align(pyramid, boxes[:, :1], (4, 8), 3, sampling, aggregation=aggregation)
    boxes[0, 1, 2] = bad
    pooled = align(pyramid, boxes, (4, 8), 3, sampling, aggregation=aggregation).numpy()
    np.testing.assert_allclose(pooled[:, :1], expected, atol=1e-6)
    np.testing.assert_array_equal(pooled[:, 1], 0.0)
    upstream = np.ones_like(pooled)
    gradient = gradient_of(align, pyramid, boxes, upstream, strides=(4, 8), output_size=3)
    assert all(np.isfinite(level).all() for level in gradient)


@pytest.mark.parametrize("sampling", [0, 2])
def test_runs_in_a_graph_of_unknown_shapes(align, sampling):
    features = random_features(2, 12, 16, 3)
    boxes = np.stack([BOXES, BOXES])
    traced = tf.function(
        lambda features, boxes: align([features], boxes, [4], 3, sampling),
        input_signature=[
            tf.TensorSpec((None, None, None, 3)),
            tf.TensorSpec((None, None, 4)),
        ],
    )
    eager = align([features], boxes, [4], 3, sampling)
    np.testing.assert_allclose(traced(features, boxes), eager, atol=1e-5)


def test_boxes_get_no_gradient(align):
    boxes = tf.constant(BOXES[None])
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        pooled = align([random_features(1, 12, 16, 3)], boxes, [4], 3)
    assert tape.gradient(pooled, boxes) is None


def roi_pool_of_one(features, box, stride, bins):
    """(bins, bins, C): the definition in torchvision's terms."""
    height, width, channels = features.shape
    x0, y0, x1, y1 = (math.copysign(math.floor(abs(v / stride) + 0.5), v) for v in box)
    rows, columns = max(y1 - y0 + 1, 1) / bins, max(x1 - x0 + 1, 1) / bins
    output = np.zeros((bins, bins, channels))
    for i, j in np.ndindex(bins, bins):
        top, bottom = (np.clip(v + y0, 0, height) for v in (i * rows // 1, -(-(i + 1) * rows // 1)))
        left, right = (
            np.clip(v + x0, 0, width) for v in (j * columns // 1, -(-(j + 1) * columns // 1))
        )
        cells = features[int(top) : int(bottom), int(left) : int(right)]
        if cells.size:
            output[i, j] = cells.max(axis=(0, 1))
    return output


def test_roi_pool_agrees_with_torchvision(pool, goldens):
    goldens, boxes, position = goldens
    features = goldens["features_nhwc"]
    arguments = {"strides": [round(1 / float(goldens["spatial_scale"]))], "output_size": 7}
    pooled = pool([features], boxes, **arguments).numpy()
    assert_close(pooled[position], goldens["roi_pool/size7/output"])
    drawn = np.random.default_rng(7).normal(size=(len(position[0]), features.shape[-1], 7, 7))
    upstream = np.zeros_like(pooled)
    upstream[position] = drawn.astype(np.float32).transpose(0, 2, 3, 1)
    gradient = gradient_of(pool, [features], boxes, upstream, **arguments)[0]
    assert_close(gradient, goldens["roi_pool/size7/feature_gradient"])


def test_roi_pool_agrees_with_the_definition(pool):
    features = random_features(1, 12, 16, 3)
    pooled = pool([features], BOXES[None], [4], 3)
    expected = [roi_pool_of_one(features[0], box, 4, 3) for box in BOXES]
    assert_close(pooled[0].numpy(), np.array(expected))


def test_of_equal_samples_the_first_takes_the_gradient(align, pool):
    features, boxes = np.ones((1, 4, 4, 2), np.float32), np.array([[[0.0, 0.0, 16.0, 16.0]]])
    upstream = np.ones((1, 1, 1, 1, 2))
    arguments = {"strides": [4], "output_size": 1}
    gradient = gradient_of(pool, [features], boxes, upstream, **arguments)[0]
    expected = np.zeros_like(features)
    expected[0, 0, 0] = 1
    np.testing.assert_array_equal(gradient, expected)
    arguments |= {"sampling_ratio": 2, "aggregation": "max"}
    gradient = gradient_of(align, [features], boxes, upstream, **arguments)[0]
    expected[0, :2, :2] = 0.25  # the first sample lies between four cells
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((3, 4))}, r"boxes must be \(B, R, 4\)"),
        ({"boxes": np.zeros((3, 2, 4))}, r"features\[0\]"),
        ({"features": [np.zeros((1, 4, 4, 2))[0]]}, r"features\[0\]"),
        ({"features": [np.zeros((1, 4, 4, 2), np.int32)]}, r"features\[0\]"),
        ({"features": [np.zeros((1, 4, 4, 2))] * 2}, "2 features for 1 strides"),
        ({"output_size": -7}, "output_size"),
        ({"sampling_ratio": -1}, "sampling_ratio"),
        ({"aggregation": "median"}, "aggregation"),
        ({"strides": [0]}, "strides"),
    ],
)
def test_bad_input_is_named(align, changes, message):
    arguments = {"features": [np.zeros((1, 4, 4, 2))], "boxes": np.zeros((1, 2, 4))}
    arguments |= {"strides": [4], "output_size": 7}
    with pytest.raises(ValueError, match=message):
        align(**{**arguments, **changes})


def test_unknown_implementation():
    with pytest.raises(ValueError, match="implementation must be one of auto, compiled, portable"):
        roi_align([np.zeros((1, 4, 4, 2))], np.zeros((1, 2, 4)), [4], 7, implementation="fast")


def test_both_implementations_agree_on_a_pyramid(compiled_op):
    pyramid = [random_features(2, 64 // 2**i, 96 // 2**i, 20, seed=i) for i in range(4)]
    rng = np.random.default_rng(5)
    corners = rng.uniform(-40, 420, (2, 200, 2, 2))
    boxes = np.sort(corners, axis=2).reshape(2, 200, 4).astype(np.float32)
    boxes[:, :20] = np.round(boxes[:, :20])
    for arguments in ({"sampling_ratio": 0}, {"sampling_ratio": 2, "aggregation": "max"}):
        arguments |= {"strides": (4, 8, 16, 32), "output_size": 7}
        compiled, portable = (
            roi_align(pyramid, boxes, implementation=name, **arguments).numpy()
            for name in ("compiled", "portable")
        )
        assert_close(compiled, portable)
