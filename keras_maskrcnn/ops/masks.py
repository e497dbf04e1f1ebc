"""Masks predicted in their boxes, pasted into the image (Mask R-CNN, section 3)."""

import math

import cv2
import numpy as np


def paste_mask(
    mask: np.ndarray, box: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """The part of the image that a mask can cover, and where it lies.

    A pixel is set where the mask, stretched over the box, is at least 0.5 at the pixel's centre:
    bilinear between the centres of the mask's cells, 0 outside the mask.

    Args:
        mask: (m, m) probabilities.
        box: (4,) xyxy pixels; it may reach out of the image.
        height: Of the image.
        width: Of the image.

    Returns:
        A bool array (h, w), and the (row, column) of its first pixel in the image. It is empty
        where the box is empty, not finite, or outside the image.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    top, rows = _interpolation(y0, y1, height, mask.shape[0])
    left, columns = _interpolation(x0, x1, width, mask.shape[1])
    if not (len(rows) and len(columns)):
        return np.zeros((len(rows), len(columns)), bool), (top, left)
    # numpy's threads cost more than such small products, ten times as much on busy cores.
    values = cv2.gemm(rows, np.asarray(mask, np.float32), 1.0, None, 0.0)
    return cv2.gemm(values, columns, 1.0, None, 0.0, flags=cv2.GEMM_2_T) >= 0.5, (top, left)


def paste_masks(masks: np.ndarray, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Full-size masks, each as `paste_mask` defines it.

    Args:
        masks: (n, m, m) probabilities.
        boxes: (n, 4) xyxy pixels.
        height: Of the image.
        width: Of the image.

    Returns:
        (n, height, width) bool.

    Example:
        >>> paste_masks(np.ones((1, 28, 28)), np.array([[1, 0, 3, 1]]), 2, 4).astype(int).tolist()
        [[[0, 1, 1, 0], [0, 0, 0, 0]]]
    """
    pasted = np.zeros((len(masks), height, width), bool)
    for canvas, mask, box in zip(pasted, masks, boxes, strict=True):
        part, (top, left) = paste_mask(mask, box, height, width)
        canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    return pasted


def _interpolation(start, end, length, cells):
    """The first pixel inside the box on one axis, and weights (pixels, cells) of the mask's cells.

    Outside the box the nearest cell weighs less than a half, so that nothing there can be set.
    """
    if not (math.isfinite(end - start) and end > start):
        return 0, np.zeros((0, cells), np.float32)
    first = int(np.clip(np.floor(start), 0, length))
    last = int(np.clip(np.ceil(end), first, length))
    centres = np.arange(first, last) + 0.5
    position = (centres - start) / (end - start) * cells - 0.5
    distance = np.abs(position[:, None] - np.arange(cells))
    return first, np.maximum(1.0 - distance, 0.0).astype(np.float32)
