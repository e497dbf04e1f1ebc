"""A copy of a model that is good for inference alone, its batch norms folded away."""

import keras

from keras_maskrcnn.backbones.conv_norm import ConvNorm


def folded_copy(model, roi_implementation: str, dtype: keras.DTypePolicy):
    """A copy of `model` with each batch norm, of moving statistics, in the convolution before it.

    Its outputs are the model's at inference. Its weights are of the type that it computes in, which
    is half the memory where that is half precision; it is not fit for training.

    Args:
        model: A `MaskRCNN`, which stays as it is.
        roi_implementation: As in the config.
        dtype: The policy that says what to compute in.

    Example:
        >>> copy = folded_copy(model, "portable", keras.DTypePolicy("mixed_bfloat16"))
        >>> copy.backbone.stem.kernel.dtype
        'bfloat16'
    """
    config = model.config.replace(roi_implementation=roi_implementation)
    copy = type(model)(config, dtype=dtype.compute_dtype)
    copy.set_weights(model.get_weights())
    for layer, original in zip(copy._flatten_layers(), model._flatten_layers(), strict=True):
        if isinstance(layer, ConvNorm) and hasattr(layer.norm, "affine"):
            scale, offset = original.norm.affine()
            layer.kernel.assign(original.kernel * scale)
            layer.bias, layer.norm = offset.numpy(), None
    return copy
