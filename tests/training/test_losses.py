"""The five losses against their formulas in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.training.losses import (
    box_losses,
    mask_loss,
    rpn_losses,
    smooth_l1,
    softmax_mask_loss,
)

FOREGROUND = np.array([[True, True, False, False], [True, False, False, False]])
VALID = np.array([[True, True, True, False], [True, True, False, False]])
NOTHING = np.zeros((2, 4), bool)


def random_values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def binary_cross_entropy(logits, targets):
    probability = 1 / (1 + np.exp(-logits))
    return -(targets * np.log(probability) + (1 - targets) * np.log(1 - probability))


def smooth_l1_of(value, beta):
    size = abs(value)
    return 0.5 * size * size / beta if size < beta else size - 0.5 * beta


def masked_box_loss(deltas, targets, mask, beta):
    return sum(
        smooth_l1_of(difference, beta)
        for difference in (deltas - targets)[mask].ravel().astype(float)
    )


@pytest.mark.parametrize("beta", [0.0, 1.0 / 9.0, 1.0])
def test_smooth_l1_is_a_parabola_that_becomes_a_line(beta):
    values = np.concatenate([np.linspace(-2, 2, 41), [beta, -beta]]).astype(np.float32)
    expected = [smooth_l1_of(float(value), beta) for value in values]
    np.testing.assert_allclose(smooth_l1(values, beta), expected, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_rpn_losses_are_sums_over_the_size_of_a_full_sample(beta):
    logits, deltas, targets = (
        random_values(2, 4),
        random_values(2, 4, 4),
        random_values(2, 4, 4, seed=1),
    )
    losses = rpn_losses(logits, deltas, targets, FOREGROUND, VALID, 256, beta)
    objectness = binary_cross_entropy(logits, FOREGROUND)[VALID].sum() / (2 * 256)
    box = masked_box_loss(deltas, targets, FOREGROUND, beta) / (2 * 256)
    assert float(losses["rpn_objectness_loss"]) == pytest.approx(objectness, rel=1e-5)
    assert float(losses["rpn_box_loss"]) == pytest.approx(box, rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_box_losses_are_means_over_the_sampled_proposals(beta):
    logits, deltas = random_values(2, 4, 4), random_values(2, 4, 3, 4)
    targets = random_values(2, 4, 4, seed=1)
    classes = np.where(FOREGROUND, [[0, 2, 1, 1], [1, 0, 0, 0]], 3).astype(np.int32)
    losses = box_losses(logits, deltas, classes, targets, FOREGROUND, VALID, beta)
    log_probability = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log_probability, classes[..., None], -1)[..., 0]
    of_class = np.take_along_axis(deltas, (classes % 3)[..., None, None], 2)[:, :, 0]
    expected = masked_box_loss(of_class, targets, FOREGROUND, beta) / VALID.sum()
    assert float(losses["box_class_loss"]) == pytest.approx(-chosen[VALID].mean(), rel=1e-5)
    assert float(losses["box_loss"]) == pytest.approx(expected, rel=1e-5)


def test_mask_loss_is_the_mean_over_the_foreground_s_pixels():
    logits = random_values(2, 4, 5, 5)
    targets = (random_values(2, 4, 5, 5, seed=1) > 0).astype(np.float32)
    expected = binary_cross_entropy(logits, targets)[FOREGROUND].mean()
    assert float(mask_loss(logits, targets, FOREGROUND)) == pytest.approx(expected, rel=1e-5)


def test_nothing_sampled_costs_nothing_and_has_gradient_0():
    logits, deltas = tf.constant(random_values(2, 4, 4)), tf.constant(random_values(2, 4, 3, 4))
    masks = tf.constant(random_values(2, 4, 5, 5))
    classes = np.full((2, 4), 3, np.int32)
    with tf.GradientTape() as tape:
        tape.watch([logits, deltas, masks])
        losses = box_losses(logits, deltas, classes, np.zeros((2, 4, 4), "f"), NOTHING, NOTHING)
        total = tf.add_n([*losses.values(), mask_loss(masks, tf.zeros_like(masks), NOTHING)])
    assert float(total) == 0.0
    for gradient in tape.gradient(total, [logits, deltas, masks]):
        np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_padded_may_hold_anything(bad):
    logits, deltas, targets = (
        random_values(2, 4),
        random_values(2, 4, 4),
        random_values(2, 4, 4, seed=1),
    )
    expected = rpn_losses(logits, deltas, targets, FOREGROUND, VALID, 256)
    logits[~VALID], deltas[~FOREGROUND] = bad, bad
    for name, value in rpn_losses(logits, deltas, targets, FOREGROUND, VALID, 256).items():
        assert float(value) == pytest.approx(float(expected[name]))


@pytest.mark.parametrize("soft", [False, True])
def test_softmax_mask_loss_is_that_of_the_true_class_or_the_background_of_each_pixel(soft):
    logits = random_values(2, 4, 3, 3, 6)
    classes = np.array([[4, 0, 1, 2], [3, 0, 0, 0]])
    targets = np.random.default_rng(2).uniform(size=(2, 4, 3, 3)).astype(np.float32)
    targets = targets if soft else np.round(targets)
    losses = []
    for image, region in np.argwhere(FOREGROUND):
        for row, column in np.ndindex(3, 3):
            values = logits[image, region, row, column].astype(float)
            log_shares = values - np.log(np.exp(values).sum())
            share = targets[image, region, row, column]
            of_class = log_shares[classes[image, region]]
            losses.append(-share * of_class - (1 - share) * log_shares[5])
    loss = softmax_mask_loss(logits, classes, targets, FOREGROUND)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(softmax_mask_loss(logits, classes, targets, NOTHING)) == 0.0


def test_in_a_softmax_other_classes_lose_what_the_true_one_wins():
    logits, classes = tf.constant(random_values(1, 1, 2, 2, 4)), tf.constant([[1]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = softmax_mask_loss(logits, classes, tf.ones((1, 1, 2, 2)), tf.constant([[True]]))
    gradient = tape.gradient(loss, logits).numpy()
    assert (gradient[..., 1] < 0).all()
    assert (np.delete(gradient, 1, axis=-1) > 0).all()
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-6)
