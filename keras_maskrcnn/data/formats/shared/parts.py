"""An object of parts, of which some are polygons and others pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.data.formats.shared.values import coordinates
from keras_maskrcnn.data.masks import decode_mask, encode_mask

# A polygon `[x, y, x, y, ...]`, or a mask (H, W) of the image's size.
Part = list[float] | np.ndarray


def combine_parts(
    parts: Sequence[Part], size: tuple[int, int]
) -> list[list[float]] | dict[str, Any]:
    """The segmentation of an object: its polygons if all parts are, else the RLE of their union.

    Args:
        parts: At least one.
        size: Height and width of the image.

    Raises:
        ValueError: A polygon has a coordinate that is NaN, infinite or beyond any image, or it has
            to become pixels and has fewer than three points.
    """
    if all(isinstance(part, list) for part in parts):
        return list(parts)
    masks = [_mask(part, size) if isinstance(part, list) else part for part in parts]
    return encode_mask(np.any(masks, axis=0))


def _mask(polygon, size):
    if len(polygon) < 6:
        raise ValueError("a polygon has fewer than three points")
    return decode_mask([coordinates(polygon, "a polygon")], *size)


def paste_mask(patch: np.ndarray, left: int, top: int, size: tuple[int, int]) -> np.ndarray:
    """A mask (h, w) at its place in an image of (height, width): (height, width) uint8.

    Raises:
        ValueError: It reaches out of the image.
    """
    bottom, right = top + patch.shape[0], left + patch.shape[1]
    if left < 0 or top < 0 or bottom > size[0] or right > size[1]:
        raise ValueError(
            f"its mask reaches out of the image of {size[1]}x{size[0]}: it is "
            f"{patch.shape[1]}x{patch.shape[0]} and begins at x {left}, y {top}"
        )
    mask = np.zeros(size, np.uint8)
    mask[top:bottom, left:right] = patch
    return mask
