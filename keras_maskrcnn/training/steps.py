"""A step of training and of validation: from a batch to moved weights and logged losses."""

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn.ops.replicas import num_replicas, sum_over_replicas
from keras_maskrcnn.training.distribution import build_optimizer

LOSSES_ARE_ITS_OWN = "the losses of a MaskRCNN are its own, of which each is logged"
FIGURES = "callbacks.CocoEvaluation measures while it trains"
WEIGHTS = "all images and classes count alike; show rare ones more often instead"
# What Keras' methods take and a `MaskRCNN` would ignore: why, and what to do.
UNUSED = {
    "loss": LOSSES_ARE_ITS_OWN,
    "loss_weights": LOSSES_ARE_ITS_OWN,
    "metrics": FIGURES,
    "weighted_metrics": FIGURES,
    "class_weight": WEIGHTS,
    "sample_weight": WEIGHTS,
}


def refusing_unused(method: Callable) -> Callable:
    """A method of `keras.Model` that refuses those of its arguments that would have no effect.

    Raises:
        ValueError: One of `UNUSED` is given.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def checked(*args, **kwargs):
        _refuse(**signature.bind(*args, **kwargs).arguments)
        return method(*args, **kwargs)

    return checked


def leaving_datasets_in_order(fit: Callable) -> Callable:
    """`keras.Model.fit`, which does not ask to shuffle a `tf.data.Dataset` unless its caller does.

    Keras warns that it cannot, though the default asked for it; `Dataset.batches` shuffles.
    """
    signature = inspect.signature(fit)

    @functools.wraps(fit)
    def ordered(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        if isinstance(bound.arguments.get("x"), tf.data.Dataset):
            bound.arguments.setdefault("shuffle", False)
        return fit(*bound.args, **bound.kwargs)

    return ordered


def _refuse(**arguments):
    for name in UNUSED:
        if arguments.get(name) is not None:
            raise ValueError(f"Leave out {name}: {UNUSED[name]}.")


def compile_from_config(model: keras.Model, config: dict[str, Any]) -> None:
    """Compiles a model that is loaded; Keras' own leaves that to models with another `compile`."""
    model.compile(**keras.saving.deserialize_keras_object(config))
    build_optimizer(model)


def train_step(model: keras.Model, data) -> dict[str, tf.Tensor]:
    """Moves the weights down the gradient of the sum of the losses of a batch `(x, y)`.

    Returns:
        Means of the losses over the epoch so far, by name.
    """
    x, y = _unpack(data)
    with tf.GradientTape() as tape:
        losses = total_and_parts(model, x, y, training=True)
        scaled = model.optimizer.scale_loss(losses["loss"])
    weights = model.trainable_weights
    if weights:
        gradients = tape.gradient(scaled, weights)
        # Else decay and momentum of each weight are computed first, and kept until its gradient
        # comes.
        with tf.control_dependencies([gradient for gradient in gradients if gradient is not None]):
            model.optimizer.apply_gradients(zip(gradients, weights, strict=True))
    else:
        warnings.warn("The model does not have any trainable weights.", stacklevel=2)  # as Keras
    return _track(model, losses, x["images"])


def test_step(model: keras.Model, data) -> dict[str, tf.Tensor]:
    """The losses of a batch `(x, y)`, as `train_step` returns them."""
    x, y = _unpack(data)
    return _track(model, total_and_parts(model, x, y, training=False), x["images"])


def _unpack(data):
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    _refuse(sample_weight=sample_weight)
    return x if isinstance(x, Mapping) else {"images": x}, y


def total_and_parts(model, x, y, training: bool) -> dict[str, tf.Tensor]:
    """The losses and, as `"loss"`, their sum with those that layers added: this replica's share."""
    _check_share(x["images"])
    losses = model.training_losses(x, y, training=training)
    added = [loss / num_replicas() for loss in model.losses]  # each replica has them whole
    return {"loss": tf.add_n([*losses.values(), *added]), **losses}


def _check_share(images):
    """Kernels fail on a batch of no image, and do not say why."""
    if num_replicas() > 1:
        tf.debugging.assert_positive(
            tf.shape(images)[0],
            "A replica has no image: the batch has fewer images than there are replicas. Choose a "
            "batch_size of at least as many, or drop the rest of the data.",
        )


def _track(model, losses, images):
    for name, value in sum_over_replicas(losses).items():
        model.loss_trackers[name].update_state(value, sample_weight=tf.shape(images)[0])
    return {name: tracker.result() for name, tracker in model.loss_trackers.items()}
