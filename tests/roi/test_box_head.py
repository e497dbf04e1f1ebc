"""The box branch's head against plain matrix products."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.roi import BoxHead


def random_features(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def dense(inputs, layer):
    return inputs @ layer.kernel.numpy() + layer.bias.numpy()


@pytest.mark.parametrize("units", [(32, 16), (8,)])
def test_is_fully_connected_layers_and_two_predictors(units):
    head = BoxHead(num_classes=3, units=units)
    features = random_features(2, 5, 7, 7, 4)
    logits, deltas = head(features)
    assert (logits.shape, deltas.shape) == ((2, 5, 4), (2, 5, 3, 4))
    hidden = features.reshape(10, -1)  # rows, columns, channels
    for layer in head.fully_connected:
        hidden = np.maximum(dense(hidden, layer), 0)
    np.testing.assert_allclose(
        logits.numpy().reshape(10, 4), dense(hidden, head.classes), atol=1e-5
    )
    expected = dense(hidden, head.deltas).reshape(2, 5, 3, 4)  # four deltas a class
    np.testing.assert_allclose(deltas, expected, atol=1e-5)


def test_any_number_of_regions_even_none():
    head = BoxHead(num_classes=3, units=(8,))
    assert [head(random_features(1, r, 2, 2, 4))[1].shape[1] for r in (3, 0, 7)] == [3, 0, 7]


def test_mixed_precision_gives_float32():
    outputs = BoxHead(3, (8,), dtype="mixed_bfloat16")(random_features(1, 2, 2, 2, 4))
    assert {output.dtype for output in outputs} == {tf.float32}


def test_config_round_trip():
    head = BoxHead(num_classes=3, units=[32, 16], name="head")
    copy = BoxHead.from_config(head.get_config())
    assert copy.get_config() == head.get_config()
    features = random_features(1, 2, 3, 3, 4)
    expected = head(features)
    copy(features)
    copy.set_weights(head.get_weights())
    np.testing.assert_array_equal(copy(features)[0], expected[0])


def test_without_fully_connected_layers_the_mean_of_a_region_is_classified():
    head = BoxHead(num_classes=3, units=())
    features = random_features(2, 5, 7, 7, 4)
    logits, _ = head(features)
    np.testing.assert_allclose(logits, dense(features.mean((2, 3)), head.classes), atol=1e-5)


@pytest.mark.parametrize("norm", [None, "batch_norm", "group_norm"])
def test_convolutions_come_first(norm):
    head = BoxHead(num_classes=3, units=(8,), channels=(32, 32), norm=norm)
    plain = BoxHead(num_classes=3, units=(8,))
    features = random_features(2, 5, 7, 7, 4)
    logits, _ = head(features)
    hidden = features.reshape(10, 7, 7, 4)
    for conv in head.convs:
        hidden = conv(hidden)
    hidden = np.reshape(hidden, (2, 5, 7, 7, 32))
    plain(hidden)
    plain.set_weights(head.get_weights()[-6:])
    np.testing.assert_allclose(logits, plain(hidden)[0], atol=1e-5)
