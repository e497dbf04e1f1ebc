"""Weights for a model with other classes, or more channels, than theirs."""

import warnings
from collections.abc import Callable

import keras
import numpy as np


def transfer_weights(
    model: keras.Model,
    num_classes: int,
    load: Callable[[keras.Model], None],
    channels: int | None = None,
    part: Callable[[keras.Model], keras.layers.Layer] = lambda model: model,
) -> None:
    """Loads weights of a model with `num_classes` into `model`, which may have another number.

    Where the numbers differ, the last layers of the heads, whose shapes depend on the classes,
    keep the values that they have in `model`. Where `model` has more channels, the kernel of the
    stem is spread over them, and a warning says so.

    Args:
        model: A `MaskRCNN`.
        num_classes: Object classes of the weights.
        load: Called with a `MaskRCNN` of `num_classes` and `channels`, loads the weights into it.
        channels: Of the images that the weights are for; as many as those of `model` if None.
        part: Gives what of a `MaskRCNN` is loaded, and is given to `load`: all of it, or a layer.

    Raises:
        ValueError: `model` has fewer channels.

    Example:
        >>> model = MaskRCNN("mask_rcnn_resnet50_fpn", num_classes=3)
        >>> path = "model_final_f10217.pkl"
        >>> transfer_weights(model, 80, lambda source: source.import_weights(path))
    """
    config = model.config
    trained = _trained_config(config, num_classes, channels or config.channels)
    if (trained.num_classes, trained.stem_channels) == (config.num_classes, config.stem_channels):
        load(part(model))
        return
    source = type(model)(trained)
    load(part(source))
    for variable, value in zip(part(model).weights, part(source).weights, strict=True):
        if variable is model.backbone.stem.kernel:
            kernel = keras.ops.convert_to_numpy(value)
            variable.assign(spread_kernel(kernel, config.stem_channels))
        elif variable.shape == value.shape:
            variable.assign(value)
    warn_of_spread(trained.stem_channels, config.stem_channels)


def _trained_config(config, num_classes, channels):
    """The config as it is for other classes and channels, whatever the model has for each."""
    changes = {"num_classes": num_classes, "class_names": [], "channels": channels}
    for name in ("pixel_mean", "pixel_std"):
        values = getattr(config, name)
        if len(values) not in (3, channels):
            changes[name] = [values[i % len(values)] for i in range(3)]
    return config.replace(**changes)


def spread_kernel(kernel: np.ndarray, channels: int) -> np.ndarray:
    """The kernel of a stem for more channels, which gives the same where their pixels are equal.

    Of RGB, the first further channel has the kernel of R, the next that of G, and so on, each
    divided by the number of channels that share it. So copies of RGB, or channels that are all
    alike, give what RGB gives.

    Args:
        kernel: (h, w, C, out).
        channels: C or more.

    Raises:
        ValueError: There are fewer channels.

    Example:
        >>> spread_kernel(np.ones((7, 7, 3, 64)), 6)[0, 0, :, 0].tolist()
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    """
    count = kernel.shape[2]
    if channels < count:
        raise ValueError(f"The weights are for {count} channels, the model has {channels}.")
    shared = np.arange(channels) % count
    return kernel[:, :, shared] / np.bincount(shared)[shared][:, None]


def warn_of_spread(theirs: int, ours: int) -> None:
    """Says that the kernel of a stem was spread, if it was."""
    if theirs != ours:
        warnings.warn(
            f"The weights are for {theirs} channels, the model has {ours}: the stem's kernel is "
            "spread over them so that copies of the channels, and channels that are equal, give "
            "what they gave.",
            stacklevel=3,
        )
