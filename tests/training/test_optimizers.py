import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as km
from keras_maskrcnn.training.optimizers import make_optimizer
from keras_maskrcnn.training.schedules import WarmupMultiStep


def step_of(optimizer, weight, gradients):
    """The weight after steps with these gradients."""
    variable = keras.Variable(weight, name="kernel")
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
    return variable.numpy()


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_decay_spares_norms_and_biases_only(small_config, neck):
    """Steps without gradients shrink what decays and leave the rest."""
    fields = small_config.to_dict()
    if neck == "c4":
        for name in ("anchor_sizes", "box_pool_size", "box_head_units", "mask_head_channels"):
            fields.pop(name)
    model = km.MaskRCNN({**fields, "neck": neck})
    before = {weight.path: weight.numpy() for weight in model.trainable_weights}
    optimizer = make_optimizer("adamw", 0.1, weight_decay=0.5)
    optimizer.apply([tf.zeros(w.shape) for w in model.trainable_weights], model.trainable_weights)
    for weight in model.trainable_weights:
        share = 0.95 if weight.name.endswith("kernel") else 1.0
        np.testing.assert_allclose(weight.numpy(), share * before[weight.path], rtol=1e-6)


def test_decay_of_sgd_is_that_of_detectron():
    """There, and in PyTorch, 0.0001 of the weight is added to the gradient, before the momentum."""
    weight, momentum, rate, steps = 1.0, 0.0, 0.5, 2000
    for _ in range(steps):
        momentum = 0.9 * momentum + 1e-4 * weight
        weight -= rate * momentum
    ours = step_of(make_optimizer("sgd", rate), [1.0], [[0.0]] * steps)
    np.testing.assert_allclose(np.log(ours[0]), np.log(weight), rtol=0.01)


def test_small_gradients_move_weights_from_the_first_step():
    """Adam's step does not depend on the size of the gradient, unless epsilon drowns it."""
    moved = step_of(make_optimizer("adamw", 0.1, 0.0), [0.0, 0.0], [[1.0, 1e-6]])
    np.testing.assert_allclose(moved, [-0.1, -0.1], rtol=0.04)


def test_gradients_are_clipped_together():
    moved = step_of(make_optimizer("sgd", 1.0, 0.0, global_clipnorm=1.0), [0.0, 0.0], [[30.0, 40]])
    np.testing.assert_allclose(moved, [-0.6, -0.8], rtol=1e-6)


def test_schedule_counts_batches_when_gradients_accumulate():
    schedule = WarmupMultiStep(1.0, milestones=[3], factor=0.5)
    optimizer = make_optimizer("sgd", schedule, 0.0, gradient_accumulation_steps=2)
    moved = step_of(optimizer, [0.0], [[1.0], [3.0]])
    np.testing.assert_allclose(moved, [-2.0])
    assert float(optimizer.learning_rate) == 1.0
    step_of(optimizer, [0.0], [])
    optimizer.apply([tf.constant([0.0])])
    assert float(optimizer.learning_rate) == 0.5


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_accumulated_batches_move_as_one_large_batch(small_config, batch, name):
    """Batches of one picture, of which every box is taken, so that nothing is left to chance."""
    config = small_config.replace(
        norm="frozen_batch_norm", rpn_batch_size_per_image=10**6, box_batch_size_per_image=1000
    )
    x, y = ({name: value[:1] for name, value in part.items()} for part in batch)
    double = [{name: np.concatenate([v, v]) for name, v in part.items()} for part in (x, y)]
    weights = []
    for steps, data in ((1, double), (2, (x, y))):
        keras.utils.set_random_seed(0)
        model = km.MaskRCNN(config)
        before = [weight.numpy() for weight in model.trainable_weights]
        optimizer = make_optimizer(name, 1e-3, gradient_accumulation_steps=steps)
        # AdamW would divide gradients that are nothing but rounding by their own size.
        optimizer.epsilon = 1e-4
        model.compile(optimizer, run_eagerly=True)
        for _ in range(steps):
            model.train_on_batch(*data)
        weights.append([weight.numpy() for weight in model.trainable_weights])
    for one, two, start in zip(*weights, before, strict=True):
        np.testing.assert_allclose(two - start, one - start, atol=2e-6)
    assert (
        max(np.abs(one - start).max() for one, start in zip(weights[0], before, strict=True)) > 5e-4
    )


def test_moving_average_is_by_definition():
    optimizer = make_optimizer("sgd", 1.0, 0.0, ema_momentum=0.75)
    variable = keras.Variable([0.0], name="kernel")
    values = []
    for gradient in (1.0, 0.0, 0.0):
        optimizer.apply([tf.constant([gradient])], [variable])
        values.append(float(variable.numpy()[0]))
    average = values[0]
    for value in values[1:]:
        average = 0.75 * average + 0.25 * value
    optimizer.finalize_variable_values([variable])
    np.testing.assert_allclose(variable.numpy(), [average], rtol=1e-6)


def test_refuses_unknown_optimizers():
    with pytest.raises(ValueError, match="sgd, adamw, got 'lion'"):
        make_optimizer("lion", 0.1)
