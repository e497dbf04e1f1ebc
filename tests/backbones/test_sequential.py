"""Layers in turn: what they are built for, and what comes out."""

import numpy as np
import tensorflow as tf

from keras_maskrcnn.backbones.conv_norm import ConvNorm
from keras_maskrcnn.backbones.sequential import build_sequential, run_sequential


def test_each_is_built_for_the_output_of_the_one_before():
    layers = [ConvNorm(4, 3), ConvNorm(6, 1)]
    assert build_sequential(layers, 3) == 6
    assert [tuple(layer.kernel.shape) for layer in layers] == [(3, 3, 3, 4), (1, 1, 4, 6)]


def test_runs_them_in_their_order_and_trains_all():
    inputs = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 6, 3)), tf.float32)
    layers = [ConvNorm(4, 3, norm="batch_norm", activation=name) for name in ("relu", "tanh")]
    build_sequential(layers, 3)
    expected = layers[1](layers[0](inputs, training=True), training=True)
    np.testing.assert_array_equal(run_sequential(layers, inputs, training=True), expected)
    assert np.abs(run_sequential(layers, inputs) - expected).max() > 0.01


def test_none_at_all_change_nothing():
    inputs = tf.ones((1, 2, 2, 3))
    assert build_sequential([], 3) == 3
    assert run_sequential([], inputs) is inputs
