"""From masks back to annotations: run-length codes and outlines."""

from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask (H, W), 0 or 1, as a compressed COCO RLE that JSON can hold.

    Example:
        >>> encode_mask(np.ones((2, 3), np.uint8))
        {'size': [2, 3], 'counts': '06'}
    """
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def trace_outlines(mask: np.ndarray) -> list[list[float]]:
    """Polygons `[[x, y, x, y, ...], ...]` along the pixels' edges, one a part of the mask.

    Filled again they give the mask, its holes closed.

    Args:
        mask: (H, W), 0 or 1.

    Example:
        >>> mask = np.zeros((4, 5), np.uint8)
        >>> mask[1:3, 1:4] = 1
        >>> sorted(zip(*[iter(trace_outlines(mask)[0])] * 2))
        [(1.0, 1.0), (1.0, 3.0), (4.0, 1.0), (4.0, 3.0)]
    """
    # OpenCV's contours run through the centres of pixels. With each pixel cut in four, the corner
    # of a pixel is the nearest whole number of its outer quarter's centre. Pixels that touch by a
    # corner only become parts of their own, since quarters are filled by edge neighbours.
    fine = np.repeat(np.repeat(np.asarray(mask, np.uint8), 2, axis=0), 2, axis=1)
    outlines = []
    number, parts, boxes, _ = cv2.connectedComponentsWithStats(fine, connectivity=4)
    for part in range(1, number):
        left, top, width, height = boxes[part, : cv2.CC_STAT_AREA]
        inside = (parts[top : top + height, left : left + width] == part).astype(np.uint8)
        contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        points = np.round((contours[0][:, 0] + (left, top) + 0.5) / 2)
        points = points[np.any(points != np.roll(points, 1, axis=0), axis=1)]
        outlines.append(_corners(points).ravel().tolist())
    return outlines


def _corners(points):
    """Of a closed path along a grid, the points at which it turns."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return points[turns != 0]
