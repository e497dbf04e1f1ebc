"""Convolutions with their norms against explicit references."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.backbones import conv_norm
from keras_maskrcnn.backbones.conv_norm import EPSILON, ConvNorm, FrozenBatchNorm, FusedBatchNorm

NORMS = [None, "frozen_batch_norm", "batch_norm", "group_norm"]


def random_features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def made(*args, channels=6, seed=1, **kwargs):
    """A built layer of which every weight is random, variances above 0."""
    layer = ConvNorm(*args, **kwargs)
    layer.build((None, None, None, channels))
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        value = rng.normal(size=weight.shape)
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.name else value)
    return layer


def convolve(inputs, kernel, strides=1):
    """The definition: k // 2 zeros on every side, then one product a window."""
    size = kernel.shape[0]
    margin = size // 2
    padded = np.pad(inputs, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
    rows = range(0, padded.shape[1] - size + 1, strides)
    columns = range(0, padded.shape[2] - size + 1, strides)
    windows = [[padded[:, y : y + size, x : x + size] for x in columns] for y in rows]
    return np.einsum("yxbijc,ijco->byxo", np.array(windows), kernel)


def batch_norm(values, norm, mean, variance):
    scale = norm.gamma.numpy() / np.sqrt(variance + EPSILON)
    return (values - mean) * scale + norm.beta.numpy()


@pytest.mark.parametrize("sides", [(3, 3), (4, 3), (5, 7)])
def test_valid_is_what_same_gives_off_the_margin(sides):
    layer = made(4, 3)
    inputs = random_features(2, *sides, 6)
    valid = layer(inputs, padding="VALID")
    np.testing.assert_allclose(valid, layer(inputs)[:, 1:-1, 1:-1], atol=1e-4)


@pytest.mark.parametrize("sides", [(8, 8), (7, 9), (8, 7)])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
def test_pads_the_same_on_every_side(sides, strides, kernel_size):
    layer = made(4, kernel_size, strides=strides)
    inputs = random_features(2, *sides, 6)
    expected = convolve(inputs, layer.kernel.numpy(), strides) + layer.bias.numpy()
    np.testing.assert_allclose(layer(inputs), expected, atol=1e-4)
    assert layer.compute_output_shape(inputs.shape) == expected.shape
    assert layer.compute_output_shape((None, None, None, 6)) == (None, None, None, 4)


@pytest.mark.parametrize("sides", [(7, 9), (8, 6)])
@pytest.mark.parametrize("kernel_size", [3, 7])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_a_strided_convolution(sides, kernel_size, training):
    """Those of a convolution over inputs that are padded before."""
    layer, margin = made(5, kernel_size, strides=2), kernel_size // 2
    inputs = tf.constant(random_features(2, *sides, 6))

    @tf.function
    def ours():
        return layer(inputs, training=training)

    def definition():
        padded = tf.pad(inputs, [[0, 0], [margin, margin], [margin, margin], [0, 0]])
        return tf.nn.conv2d(padded, layer.kernel.value, 2, "VALID") + layer.bias.value

    gradients = []
    for function in (ours, definition):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.sin(function()))
        gradients.append(tape.gradient(loss, [inputs, layer.kernel.value, layer.bias.value]))
    for found, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("strides", [1, 2])
def test_groups_convolve_apart(groups, strides):
    layer = made(8, 3, channels=12, groups=groups, strides=strides)
    inputs = tf.constant(random_features(2, 6, 7, 12))
    upstream = random_features(*layer.compute_output_shape(inputs.shape), seed=3)

    def split_convolution(inputs, kernel):
        parts = zip(tf.split(inputs, groups, -1), tf.split(kernel, groups, -1), strict=True)
        padded = [[0, 0], [1, 1], [1, 1], [0, 0]]
        return tf.concat(
            [tf.nn.conv2d(tf.pad(x, padded), k, strides, "VALID") for x, k in parts], -1
        )

    kernel = tf.constant(layer.kernel)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([inputs, kernel])
        ours = layer(inputs)
        expected = split_convolution(inputs, kernel) + layer.bias
        our_loss, expected_loss = tf.reduce_sum(ours * upstream), tf.reduce_sum(expected * upstream)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    for our_source, source in ((inputs, inputs), (layer.kernel.value, kernel)):
        gradient = tape.gradient(our_loss, our_source)
        np.testing.assert_allclose(gradient, tape.gradient(expected_loss, source), atol=1e-3)


@pytest.mark.parametrize("norm", ["frozen_batch_norm", "batch_norm"])
def test_folding_is_the_norm_after_the_convolution(norm):
    layer = made(4, 3, norm=norm)
    inputs = random_features(2, 6, 5, 6)
    values = convolve(inputs, layer.kernel.numpy())
    mean, variance = layer.norm.moving_mean.numpy(), layer.norm.moving_variance.numpy()
    expected = batch_norm(values, layer.norm, mean, variance)
    np.testing.assert_allclose(layer(inputs, training=False), expected, atol=1e-4)
    np.testing.assert_allclose(layer.norm(values.astype(np.float32)), expected, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", None])
def test_the_activation_comes_last(activation):
    layer = made(4, 3, norm="frozen_batch_norm", activation=activation)
    plain = made(4, 3, norm="frozen_batch_norm")
    inputs = random_features(1, 6, 5, 6)
    expected = plain(inputs).numpy()
    assert expected.min() < 0
    expected = np.maximum(expected, 0) if activation else expected
    np.testing.assert_allclose(layer(inputs), expected, atol=1e-6)


def test_a_frozen_norm_never_trains():
    layer = made(4, 3, norm="frozen_batch_norm")
    layer.trainable = False
    layer.trainable = layer.norm.trainable = True
    assert [weight.name for weight in layer.trainable_weights] == ["kernel"]
    before = [weight.numpy() for weight in layer.norm.weights]
    layer(random_features(2, 6, 5, 6), training=True)
    for weight, value in zip(layer.norm.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_batch_norm_trains_with_the_statistics_of_the_batch():
    layer = made(4, 3, norm="batch_norm")
    inputs = random_features(2, 6, 5, 6)
    values = convolve(inputs, layer.kernel.numpy())
    moving = layer.norm.moving_mean.numpy(), layer.norm.moving_variance.numpy()
    mean, variance = values.mean((0, 1, 2)), values.var((0, 1, 2))
    outputs = layer(inputs, training=True)
    np.testing.assert_allclose(outputs, batch_norm(values, layer.norm, mean, variance), atol=1e-3)
    unbiased = values.var((0, 1, 2), ddof=1)  # as torch keeps it
    np.testing.assert_allclose(layer.norm.moving_mean, 0.9 * moving[0] + 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(
        layer.norm.moving_variance, 0.9 * moving[1] + 0.1 * unbiased, rtol=1e-4
    )


def test_gradients_of_batch_norm_are_those_of_its_formula():
    layer = made(4, 1, norm="batch_norm")
    inputs = random_features(2, 4, 5, 6)
    upstream = random_features(2, 4, 5, 4, seed=5)
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_sum(layer(inputs, training=True) * upstream)
        values = tf.nn.conv2d(inputs, layer.kernel, 1, "SAME")
        mean, variance = tf.nn.moments(values, [0, 1, 2])
        plain = tf.nn.batch_normalization(
            values, mean, variance, layer.norm.beta, layer.norm.gamma, EPSILON
        )
        expected_loss = tf.reduce_sum(plain * upstream)
    for weight in layer.trainable_weights:
        expected = tape.gradient(expected_loss, weight.value)
        np.testing.assert_allclose(tape.gradient(loss, weight.value), expected, atol=2e-3)


def test_a_batch_norm_that_does_not_train_keeps_its_statistics():
    layer = made(4, 3, norm="batch_norm")
    inputs = random_features(2, 6, 5, 6)
    expected = layer(inputs, training=False).numpy()
    before = layer.norm.moving_mean.numpy()
    layer.trainable = False
    np.testing.assert_array_equal(layer(inputs, training=True), expected)
    np.testing.assert_array_equal(layer.norm.moving_mean, before)


def test_group_norm_normalises_32_groups_of_each_image():
    layer = made(64, 1, norm="group_norm")
    inputs = random_features(2, 4, 5, 6)
    values = convolve(inputs, layer.kernel.numpy()).reshape(2, 4, 5, 32, 2)
    axes = {"axis": (1, 2, 4), "keepdims": True}
    normal = (values - values.mean(**axes)) / np.sqrt(values.var(**axes) + EPSILON)
    expected = normal.reshape(2, 4, 5, 64) * layer.norm.gamma.numpy() + layer.norm.beta.numpy()
    np.testing.assert_allclose(layer(inputs), expected, atol=1e-3)


def test_an_unknown_norm_is_named():
    with pytest.raises(ValueError, match="'layer_norm'"):
        ConvNorm(4, 3, norm="layer_norm")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("norm", NORMS)
def test_mixed_precision_computes_in_half_and_keeps_float32_weights(norm, dtype, training):
    layer = made(32, 3, norm=norm, dtype=dtype)
    reference = made(32, 3, norm=norm)
    inputs = random_features(2, 6, 5, 6)
    outputs = layer(inputs, training=training)
    assert outputs.dtype == dtype.removeprefix("mixed_")
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    expected = reference(inputs, training=training).numpy()
    error = np.abs(tf.cast(outputs, tf.float32) - expected).max()
    assert error < (0.03 if dtype == "mixed_bfloat16" else 0.01) * np.abs(expected).max()


@pytest.mark.parametrize("norm", NORMS)
def test_config_round_trip(norm):
    layer = made(32, 3, strides=2, groups=2, norm=norm, activation="relu", name="conv")
    copy = ConvNorm.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    inputs = random_features(1, 6, 5, 6)
    copy(inputs)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(inputs), layer(inputs))


@pytest.mark.parametrize("norm_class", [FrozenBatchNorm, FusedBatchNorm])
def test_config_round_trip_of_a_norm(norm_class):
    layer = norm_class(name="norm")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is norm_class
    assert copy.get_config() == layer.get_config()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
def test_groups_one_after_the_other(strides, training, monkeypatch):
    """What a CPU without oneDNN gets, against a convolution whose kernel is 0 between groups."""
    monkeypatch.setattr(conv_norm, "_has_gradients_of_groups", lambda: False)
    layer = made(8, 3, channels=12, groups=4, strides=strides, activation="relu")
    inputs = tf.constant(random_features(2, 6, 7, 12))

    def between_all_channels(inputs, training):
        groups = tf.split(layer.kernel.value, 4, axis=-1)
        kernels = [
            tf.pad(group, [[0, 0], [0, 0], [3 * i, 9 - 3 * i], [0, 0]])
            for i, group in enumerate(groups)
        ]
        padded = tf.pad(inputs, [[0, 0], [1, 1], [1, 1], [0, 0]])
        outputs = tf.nn.conv2d(padded, tf.concat(kernels, axis=-1), strides, "VALID")
        return tf.nn.relu(outputs + layer.bias)

    @tf.function
    def gradients(run):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = run(inputs, training=training)
            loss = tf.reduce_sum(outputs**2)
        return [outputs, *tape.gradient(loss, [inputs, layer.kernel.value])]

    for ours, theirs in zip(gradients(layer), gradients(between_all_channels), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_groups_without_onednn():
    """The tests of groups where TensorFlow has neither their gradients nor one with a bias."""
    command = [sys.executable, "-m", "pytest", "-q", "-k", "groups and not onednn", __file__]
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("norm", NORMS[1:])
def test_epsilon_is_that_of_the_norm(norm):
    layer = made(32, 1, norm=norm, epsilon=0.5)
    assert layer.norm.epsilon == ConvNorm.from_config(layer.get_config()).norm.epsilon == 0.5
    plain = made(32, 1, norm=norm)
    inputs = random_features(1, 6, 5, 6)
    assert np.abs(layer(inputs)).max() < np.abs(plain(inputs)).max()
