"""RoIAlign (Mask R-CNN, section 3) and RoIPool (Fast R-CNN, 2.1) over a feature pyramid.

Both come twice, with the same numbers: as compiled ops of TensorFlow (`custom_ops/roi_align`), and
in stock ones, for where those are not built.
"""

from collections.abc import Sequence

import tensorflow as tf

from keras_maskrcnn.ops import compiled_roi_align, portable_roi_align
from keras_maskrcnn.ops.portable_roi_align import assign_levels

__all__ = ["IMPLEMENTATIONS", "assign_levels", "roi_align", "roi_pool"]

IMPLEMENTATIONS = ("auto", "compiled", "portable")


def roi_align(
    features: Sequence[tf.Tensor],
    boxes: tf.Tensor,
    strides: Sequence[int],
    output_size: int,
    sampling_ratio: int = 2,
    aligned: bool = True,
    aggregation: str = "average",
    implementation: str = "auto",
) -> tf.Tensor:
    """Features of a fixed size for each box, without rounding a coordinate.

    Args:
        features: Maps (B, H_i, W_i, C), finest first.
        boxes: (B, R, 4) xyxy pixels of the images. They get no gradient.
        strides: Pixels per cell of each map, powers of two; with one map, all boxes use it.
        output_size: Bins along each side of the output.
        sampling_ratio: Samples a bin in each direction; 0 is ceil(RoI size / output_size).
        aligned: Whether cell centres lie at half pixels (Detectron2) or not (torchvision).
        aggregation: `"average"` or `"max"` of the samples of a bin.
        implementation: `"compiled"`, `"portable"`, or `"auto"`: compiled where it is built.

    Returns:
        (B, R, output_size, output_size, C), of the features' dtype. A bin without samples (in an
        inverted box) is 0, and so is every bin of a box that is not finite or reaches further than
        a million pixels.

    Raises:
        ValueError: A shape or an argument is wrong.
        RuntimeError: The compiled op is asked for and is not built for this TensorFlow.

    Example:
        >>> features = [tf.ones((1, 32, 32, 8)), tf.ones((1, 16, 16, 8))]
        >>> roi_align(features, tf.constant([[[8., 8., 40., 56.]]]), (4, 8), 7).shape
        TensorShape([1, 1, 7, 7, 8])
    """
    features, boxes = _check(features, boxes, strides, output_size)
    if sampling_ratio < 0 or aggregation not in ("average", "max"):
        raise ValueError(
            "sampling_ratio must be 0 or more and aggregation 'average' or 'max', got "
            f"{sampling_ratio} and {aggregation!r}."
        )
    chosen = _choose(implementation)
    arguments = (strides, output_size, sampling_ratio, aligned, aggregation)
    return chosen.roi_align(features, boxes, *arguments)


def roi_pool(
    features: Sequence[tf.Tensor],
    boxes: tf.Tensor,
    strides: Sequence[int],
    output_size: int,
    implementation: str = "auto",
) -> tf.Tensor:
    """Features of a fixed size for each box, rounded to whole cells: what RoIAlign improves on.

    Args:
        features: See `roi_align`.
        boxes: See `roi_align`.
        strides: See `roi_align`.
        output_size: See `roi_align`.
        implementation: See `roi_align`.

    Returns:
        (B, R, output_size, output_size, C): the largest cell of each bin, 0 where it has none.

    Raises:
        ValueError: A shape or an argument is wrong.
        RuntimeError: The compiled op is asked for and is not built for this TensorFlow.

    Example:
        >>> roi_pool([tf.ones((1, 32, 32, 8))], tf.constant([[[8., 8., 40., 56.]]]), (4,), 7).shape
        TensorShape([1, 1, 7, 7, 8])
    """
    features, boxes = _check(features, boxes, strides, output_size)
    return _choose(implementation).roi_pool(features, boxes, strides, output_size)


def _check(features, boxes, strides, output_size):
    """The features and boxes as tensors that fit each other, as far as shapes are known."""
    features = [tf.convert_to_tensor(level) for level in features]
    boxes = tf.cast(tf.convert_to_tensor(boxes), tf.float32)
    if not features or len(features) != len(strides):
        raise ValueError(f"There are {len(features)} features for {len(strides)} strides.")
    if not boxes.shape.is_compatible_with((None, None, 4)):
        raise ValueError(f"boxes must be (B, R, 4), got shape {boxes.shape}.")
    expected = tf.TensorShape([boxes.shape[0], None, None, features[0].shape[-1]])
    for i, level in enumerate(features):
        if not level.dtype.is_floating or not level.shape.is_compatible_with(expected):
            raise ValueError(
                f"features[{i}] must be floats {expected} (B, H, W, C), "
                f"got {level.shape} {level.dtype.name}."
            )
    if any(s < 1 or (len(strides) > 1 and s & (s - 1)) for s in strides) or output_size < 1:
        raise ValueError(
            "strides must be powers of two and output_size at least 1, got "
            f"{tuple(strides)} and {output_size}."
        )
    return features, boxes


def _choose(implementation):
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"implementation must be one of {', '.join(IMPLEMENTATIONS)}, got {implementation!r}."
        )
    if implementation == "portable":
        return portable_roi_align
    library = compiled_roi_align.load()
    if library.ops is not None:
        return compiled_roi_align
    if implementation == "compiled":
        raise RuntimeError(library.description)
    compiled_roi_align.warn_once()
    return portable_roi_align
