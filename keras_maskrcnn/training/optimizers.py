"""Keras' optimizers as detectors are trained with them."""

import keras

MOMENTUM = 0.9
NOT_DECAYED = ("gamma", "beta", "bias")  # what the weights of norms, and biases, are called
# Of AdamW. Keras' default, 1e-7, comes to 3e-6 in the first steps, more than the gradients of the
# coarse levels of a pyramid.
EPSILON = 1e-9
WEIGHT_DECAY = {"sgd": 1e-3, "adamw": 0.05}


def make_optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float | None = None,
    global_clipnorm: float | None = None,
    gradient_accumulation_steps: int = 1,
    ema_momentum: float | None = None,
) -> keras.optimizers.Optimizer:
    """SGD with momentum 0.9, or AdamW, whose weight decay spares norms and biases.

    Keras' decay of SGD does not pass through the momentum: 0.001 here shrinks the weights as
    0.0001 does in Detectron and PyTorch. What is spared is not part of the optimizer's config, so
    a saved model that goes on training decays all its weights: compile it anew.

    Args:
        name: `"sgd"` or `"adamw"`.
        learning_rate: A rate or a schedule, which counts batches, accumulated or not.
        weight_decay: Share of a weight that a step of rate 1 takes away (default: 0.001 for SGD,
            0.05 for AdamW).
        global_clipnorm: Longest norm of all gradients together; None does not clip.
        gradient_accumulation_steps: Batches whose mean gradient makes a step.
        ema_momentum: Share that a moving average of the weights keeps at each batch, 0..1; None
            makes no average. `keras.callbacks.SwapEMAWeights` puts it in the model's place.

    Raises:
        ValueError: An unknown name.

    Example:
        >>> optimizer = make_optimizer("sgd", 0.0025, global_clipnorm=10.0)
        >>> float(optimizer.weight_decay)
        0.001
    """
    if name not in WEIGHT_DECAY:
        raise ValueError(f"name must be one of {', '.join(WEIGHT_DECAY)}, got {name!r}.")
    settings = {
        "weight_decay": WEIGHT_DECAY[name] if weight_decay is None else weight_decay,
        "global_clipnorm": global_clipnorm,
        "gradient_accumulation_steps": (
            gradient_accumulation_steps if gradient_accumulation_steps > 1 else None
        ),
    }
    if ema_momentum is not None:
        settings |= {"use_ema": True, "ema_momentum": ema_momentum}
    if name == "adamw":
        optimizer = keras.optimizers.AdamW(learning_rate, epsilon=EPSILON, **settings)
    else:
        optimizer = keras.optimizers.SGD(learning_rate, momentum=MOMENTUM, **settings)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer
