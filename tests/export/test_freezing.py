"""Batch norms folded away, and functions whose variables became constants."""

import keras
import numpy as np
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.backbones.conv_norm import ConvNorm
from keras_maskrcnn.export.freezing import fold_batch_norms, freeze


def test_a_folded_model_is_the_same_model(small_config, batch):
    keras.utils.set_random_seed(0)
    x, _ = batch
    model = km.MaskRCNN(small_config, head_norm="batch_norm", box_score_threshold=0.0)
    for layer in model._flatten_layers():
        if isinstance(layer, ConvNorm) and layer.norm is not None:
            layer.norm.moving_mean.assign(np.random.default_rng(0).normal(0, 0.1, layer.filters))
            layer.norm.moving_variance.assign(np.full(layer.filters, 2.0))
    before = model.stages(x)
    fold_batch_norms(model)
    after = model.stages(x)
    norms = [layer.norm for layer in model._flatten_layers() if isinstance(layer, ConvNorm)]
    assert len(norms) > 10
    assert not any(norms)
    for level, features in before["features"].items():
        scale = np.abs(features).max()
        assert np.abs(after["features"][level] - features).max() <= 1e-5 * scale


def test_a_frozen_function_keeps_its_values(small_config):
    weights = tf.Variable(np.arange(40_000, dtype=np.float32).reshape(200, 200))

    @tf.function(input_signature=[tf.TensorSpec((None, 200)), tf.TensorSpec((), tf.int32)])
    def function(values, times):
        product = tf.cast(values @ (weights * 2.0), tf.float64)
        _, total = tf.while_loop(lambda i, _: i < times, lambda i, t: (i + 1, t + 1.0), (0, 0.0))
        half = tf.cast(tf.cast(weights, tf.bfloat16)[0], tf.float32)
        return {"total": total, "product": product, "half": half}

    frozen = freeze(function.get_concrete_function())
    expected = function(tf.ones((3, 200)), 5)
    weights.assign(tf.zeros((200, 200)))
    found = frozen(tf.ones((3, 200)), tf.constant(5))
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)
    operations = frozen.graph.get_operations()
    assert not {"ReadVariableOp", "VarHandleOp"} & {operation.type for operation in operations}
    assert [op for op in operations if op.type == "Mul"] == []  # done beforehand
