"""Weights for a model with other classes than theirs."""

from collections.abc import Callable

import keras


def transfer_weights(
    model: keras.Model, num_classes: int, load: Callable[[keras.Model], None]
) -> None:
    """Loads weights of a model with `num_classes` into `model`, which may have another number.

    Where the numbers differ, the last layers of the heads, whose shapes depend on the classes,
    keep the values that they have in `model`.

    Args:
        model: A `MaskRCNN`.
        num_classes: Object classes of the weights.
        load: Called with a `MaskRCNN` of `num_classes`, loads the weights into it.

    Example:
        >>> model = MaskRCNN("mask_rcnn_resnet50_fpn", num_classes=3)
        >>> path = "model_final_f10217.pkl"
        >>> transfer_weights(model, 80, lambda source: source.import_weights(path))
    """
    if num_classes == model.config.num_classes:
        load(model)
        return
    source = type(model)(model.config.replace(num_classes=num_classes, class_names=[]))
    load(source)
    for variable, value in zip(model.weights, source.weights, strict=True):
        if variable.shape == value.shape:
            variable.assign(value)
