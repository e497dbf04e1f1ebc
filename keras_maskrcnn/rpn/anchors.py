"""Anchors: the boxes that the region proposal network starts from (Faster R-CNN, 3.1.1)."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def cell_anchors(
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
    stride: int = 16,
    style: str = "detectron2",
) -> np.ndarray:
    """The anchors (A, 4) of one cell, relative to its top left corner, xyxy pixels.

    Args:
        sizes: Square roots of the areas, in pixels.
        aspect_ratios: Height over width.
        stride: Pixels per cell.
        style: `"detectron2"`: exact, centred on the corner, sizes outer, aspect ratios inner.
            `"torchvision"`: the same with corners rounded to whole pixels, aspect ratios outer.
            `"detectron"`: centred on the middle of the cell, an anchor of the area of a cell
            rounded to whole pixels and then scaled, aspect ratios outer.

    Raises:
        ValueError: An unknown style.
    """
    sizes, ratios = np.array(sizes, np.float64), np.array(aspect_ratios, np.float64)
    centre = 0.0
    if style == "detectron2":
        widths = sizes[:, None] / np.sqrt(ratios)
        heights = widths * ratios
    elif style == "torchvision":
        widths = 2.0 * np.round(0.5 * sizes / np.sqrt(ratios[:, None]))
        heights = 2.0 * np.round(0.5 * sizes * np.sqrt(ratios[:, None]))
    elif style == "detectron":
        centre = 0.5 * stride
        widths = np.round(stride / np.sqrt(ratios[:, None]))
        heights = np.round(widths * ratios[:, None])
        widths, heights = widths * sizes / stride, heights * sizes / stride
    else:
        raise ValueError(f"style must be detectron2, torchvision or detectron, got {style!r}.")
    half = 0.5 * np.stack([widths.ravel(), heights.ravel()], axis=1)
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


def make_anchors(
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    stride: int,
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
    style: str = "detectron2",
    image_size: tf.Tensor | None = None,
) -> tf.Tensor:
    """The anchors (height * width * A, 4) of one feature map, xyxy pixels, row by row.

    Args:
        height: Rows of the map.
        width: Columns of the map.
        stride: Pixels per cell; the corner of cell (i, j) is (j, i) * stride.
        sizes: See `cell_anchors`.
        aspect_ratios: See `cell_anchors`.
        style: See `cell_anchors`.
        image_size: (2,) int32 height and width of the padded image. torchvision divides it by
            those of the map and rounds down, so that the anchors of p6 lie less than 64 pixels
            apart where the size is no multiple of 64. The other styles have no use for it.

    Example:
        >>> make_anchors(2, 3, 16, [32.0], [0.5, 1.0, 2.0]).shape
        TensorShape([18, 4])
    """
    steps = tf.fill([2], stride)
    if style == "torchvision" and image_size is not None:
        steps = image_size // tf.stack([height, width])
    y, x = (
        tf.cast(tf.range(n) * step, tf.float32)
        for n, step in zip((height, width), tf.unstack(steps), strict=True)
    )
    y, x = tf.meshgrid(y, x, indexing="ij")
    corners = tf.stack([x, y, x, y], axis=-1)
    anchors = corners[:, :, None, :] + cell_anchors(sizes, aspect_ratios, stride, style)
    return tf.reshape(anchors, [-1, 4])
