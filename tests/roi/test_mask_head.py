"""The mask branch's head: only the channel of one class is computed, and it is the right one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.roi import MaskHead, mask_probabilities

CLASSES = np.array([[0, 2, 4], [1, 3, -1]], np.int32)


def random_features(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def all_classes(head, features):
    """(B, R, K, 2m, 2m): the logits of every class, by the full 1x1 convolution."""
    batch, regions, size, _, channels = features.shape
    hidden = tf.reshape(features, [-1, size, size, channels])
    for conv in head.convs:
        hidden = conv(hidden)
    hidden = head.deconv(hidden)
    kernel = tf.transpose(head.predictor_kernel)[None, None]
    logits = tf.nn.conv2d(hidden, kernel, 1, "SAME") + head.predictor_bias
    return tf.reshape(
        tf.transpose(logits, [0, 3, 1, 2]), [batch, regions, -1, 2 * size, 2 * size]
    ).numpy()


def made(**kwargs):
    head = MaskHead(5, channels=(32, 32), deconv_channels=8, **kwargs)
    head(random_features(2, 3, 7, 7, 6), CLASSES)
    rng = np.random.default_rng(1)
    for weight in (head.predictor_kernel, head.predictor_bias):
        weight.assign(rng.normal(size=weight.shape))
    return head


@pytest.mark.parametrize("norm", [None, "group_norm"])
def test_logits_are_those_of_the_region_s_class(norm):
    head, features = made(norm=norm), random_features(2, 3, 7, 7, 6)
    logits = head(features, CLASSES)
    assert logits.shape == (2, 3, 14, 14)
    expected = all_classes(head, features)
    for image, region in np.ndindex(2, 3):
        of_class = expected[image, region, max(CLASSES[image, region], 0)]
        np.testing.assert_allclose(logits[image, region], of_class, atol=1e-5)


def test_logits_of_all_classes():
    head, features = made(), random_features(2, 3, 7, 7, 6)
    logits = head(features)
    assert logits.shape == (2, 3, 14, 14, 5)
    expected = np.moveaxis(all_classes(head, features), 2, -1)
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_probabilities_are_a_sigmoid_or_the_class_s_share_of_a_softmax():
    logits = random_features(2, 3, 4, 4, 6)
    of_one = logits[..., 0]
    np.testing.assert_allclose(
        mask_probabilities(of_one, CLASSES), 1 / (1 + np.exp(-of_one)), rtol=1e-5
    )
    probabilities = mask_probabilities(logits, CLASSES, "softmax")
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for image, region in np.ndindex(2, 3):
        of_class = shares[image, region, ..., max(CLASSES[image, region], 0)]
        np.testing.assert_allclose(probabilities[image, region], of_class, rtol=1e-5)


def test_first_step_of_adam_goes_no_further_than_the_learning_rate():
    head = MaskHead(2, channels=(8,), deconv_channels=8)
    features, class_ids = tf.ones((1, 20, 4, 4, 6)), tf.ones((1, 20), tf.int32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(head(features, class_ids))
    weights = [head.predictor_kernel, head.predictor_bias]
    before = [weight.numpy() for weight in weights]
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
    for old, weight in zip(before, weights, strict=True):
        assert np.abs(weight.numpy() - old).max() == pytest.approx(0.01, rel=1e-3)


def test_classes_do_not_compete():
    head, features = made(), random_features(2, 3, 7, 7, 6)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(head(features, np.full((2, 3), 2, np.int32)))
    gradient = tf.convert_to_tensor(tape.gradient(total, head.predictor_kernel.value)).numpy()
    assert np.flatnonzero(np.abs(gradient).sum(1)).tolist() == [2]


def test_mixed_precision_gives_float32_close_to_its_own():
    head, half = made(), MaskHead(5, (32, 32), 8, dtype="mixed_bfloat16")
    features = random_features(2, 3, 7, 7, 6)
    half(features, CLASSES)
    half.set_weights(head.get_weights())
    logits, expected = half(features, CLASSES), head(features, CLASSES).numpy()
    assert logits.dtype == tf.float32
    assert np.abs(logits - expected).max() < 0.03 * np.abs(expected).max()


def test_config_round_trip():
    head = MaskHead(5, [32, 64], 8, norm="group_norm", name="head")
    copy = MaskHead.from_config(head.get_config())
    assert copy.get_config() == head.get_config()
    features = random_features(2, 3, 7, 7, 6)
    expected = head(features, CLASSES)
    copy(features, CLASSES)
    copy.set_weights(head.get_weights())
    np.testing.assert_array_equal(copy(features, CLASSES), expected)
