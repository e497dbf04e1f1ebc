"""The RPN's head: its layout must be that of the anchors."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.rpn import RPNHead


def random_features(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_outputs_are_one_logit_and_four_deltas_an_anchor():
    logits, deltas = RPNHead(16, anchors_per_cell=3)(random_features(2, 4, 5, 16))
    assert (logits.shape, deltas.shape) == ((2, 4 * 5 * 3), (2, 4 * 5 * 3, 4))


def test_order_is_rows_columns_anchors():
    head = RPNHead(16, anchors_per_cell=3)
    features = random_features(1, 4, 5, 16)
    logits, deltas = head(features)
    hidden = head.convs[0](features).numpy()
    assert hidden.min() == 0.0
    row, column, anchor = 2, 3, 1
    index = (row * 5 + column) * 3 + anchor
    cell = hidden[0, row, column]
    expected = cell @ head.objectness.kernel.numpy()[0, 0, :, anchor]
    np.testing.assert_allclose(logits[0, index], expected, atol=1e-5)
    kernel = head.deltas.kernel.numpy()[0, 0, :, 4 * anchor : 4 * anchor + 4]
    np.testing.assert_allclose(deltas[0, index], cell @ kernel, atol=1e-5)


def test_one_head_serves_maps_of_all_sizes():
    head = RPNHead(16)
    counts = [head(random_features(1, side, side, 16))[0].shape[1] for side in (8, 4, 1)]
    assert counts == [192, 48, 3]
    assert len(head.trainable_weights) == 6


def test_mixed_precision_gives_float32():
    outputs = RPNHead(16, dtype="mixed_bfloat16")(random_features(1, 4, 4, 16))
    assert {output.dtype for output in outputs} == {tf.float32}


def test_config_round_trip():
    head = RPNHead(16, anchors_per_cell=5, name="head")
    copy = RPNHead.from_config(head.get_config())
    assert copy.get_config() == head.get_config()
    features = random_features(1, 4, 5, 16)
    expected = head(features)
    copy(features)
    copy.set_weights(head.get_weights())
    np.testing.assert_array_equal(copy(features)[1], expected[1])


def test_convolutions_follow_each_other():
    head = RPNHead(16, conv_depth=2)
    features = random_features(1, 4, 5, 16)
    logits, _ = head(features)
    hidden = head.convs[1](head.convs[0](features)).numpy()
    expected = hidden @ head.objectness.kernel.numpy()[0, 0]
    np.testing.assert_allclose(logits, expected.reshape(1, -1), atol=1e-5)
    assert RPNHead.from_config(head.get_config()).conv_depth == 2


@pytest.mark.parametrize("most", [200, 10_000])
@pytest.mark.parametrize("depth", [1, 2])
def test_some_anchors_as_all(most, depth):
    """Outputs and gradients, for few anchors and where there may be very many."""
    number = 200
    head = RPNHead(8, anchors_per_cell=3, conv_depth=depth)
    levels = [tf.constant(random_features(2, *shape, 8)) for shape in ((9, 7), (4, 5), (1, 2))]
    head(levels[0])
    for conv in head.convs:
        conv.bias.assign(np.linspace(-1, 1, 8))
    rng = np.random.default_rng(0)
    indices = tf.constant(rng.integers(0, (63 + 20 + 2) * 3, (2, number)), tf.int32)
    weights = tf.constant(rng.normal(size=(2, number, 5)), tf.float32)

    def of_all():
        logits, deltas = zip(*(head(level) for level in levels), strict=True)
        outputs = tf.concat([tf.concat(logits, 1)[..., None], tf.concat(deltas, 1)], -1)
        return tf.gather(outputs, indices, batch_dims=1), levels

    def of_some():
        logits, deltas, passed_on = head.at_anchors(levels, indices, most)
        return tf.concat([logits[..., None], deltas], -1), passed_on

    results = []
    for function in (of_all, of_some):
        with tf.GradientTape() as tape:
            tape.watch(levels)
            outputs, features = tf.function(function)()
            loss = tf.reduce_sum(outputs * weights)
            loss += tf.add_n([tf.reduce_sum(tf.sin(level)) for level in features[:2]])
        gradients = tape.gradient(loss, [*levels, *head.trainable_weights])
        results.append([outputs, *map(tf.convert_to_tensor, gradients)])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
