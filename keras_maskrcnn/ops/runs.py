"""Masks as runs: what they take up grows with the outline of the object, not with the image.

The runs of a mask are an array (k, 3) int32 of column, first row and the row after the last, in
pixels of the image, ordered by column and then by row. Runs of a column do not touch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

Window = tuple[int, int, int, int]  # left, top, right, bottom: whole pixels, xyxy like a box
MOST_PIXELS = 2**32  # pycocotools counts pixels with 32 bits


def mask_runs(part: np.ndarray, corner: tuple[int, int] = (0, 0)) -> np.ndarray:
    """The runs of a part of an image, as `paste_mask` gives it.

    Args:
        part: (h, w) bool, or 0 and 1.
        corner: Row and column of its first pixel in the image.

    Example:
        >>> mask_runs(np.array([[0, 1], [1, 1]]), (10, 20)).tolist()
        [[20, 11, 12], [21, 10, 12]]
    """
    columns = np.zeros((part.shape[1], part.shape[0] + 2), np.int8)
    columns[:, 1:-1] = np.asarray(part, bool).T
    change = np.diff(columns, axis=1)
    column, start = np.nonzero(change == 1)
    end = np.nonzero(change == -1)[1]
    top, left = corner
    return np.stack([column + left, start + top, end + top], axis=1).astype(np.int32)


def count_pixels(runs: np.ndarray) -> int:
    """How many pixels a mask has."""
    return int((runs[:, 2] - runs[:, 1]).sum(dtype=np.int64))


def clip_runs(runs: np.ndarray, window: Window) -> np.ndarray:
    """What of a mask lies in a window.

    Example:
        >>> clip_runs(np.array([[20, 11, 12], [21, 10, 12]]), (21, 0, 30, 11)).tolist()
        [[21, 10, 11]]
    """
    left, top, right, bottom = window
    runs = runs[(runs[:, 0] >= left) & (runs[:, 0] < right)]
    clipped = np.stack([runs[:, 0], *np.clip(runs[:, 1:].T, top, bottom)], axis=1)
    return clipped[clipped[:, 1] < clipped[:, 2]]


def join_runs(masks: Sequence[np.ndarray]) -> np.ndarray:
    """The pixels that are in any of one or more masks.

    Example:
        >>> join_runs([np.array([[5, 0, 4]]), np.array([[5, 2, 7], [6, 1, 2]])]).tolist()
        [[5, 0, 7], [6, 1, 2]]
    """
    runs = np.concatenate(masks)
    if not len(runs):
        return runs
    height = int(runs[:, 2].max()) + 1  # so that runs of two columns do not touch
    starts, ends = _merge(*_along_columns(runs, height))
    column = starts // height
    rows = np.stack([column, starts - column * height, ends - column * height], axis=1)
    return rows.astype(np.int32)


def common_pixels(one: np.ndarray, other: np.ndarray) -> int:
    """How many pixels two masks have in common."""
    joined = count_pixels(join_runs([one, other]))
    return count_pixels(one) + count_pixels(other) - joined


def paste_runs(runs: np.ndarray, canvas: np.ndarray, corner: tuple[int, int] = (0, 0)) -> None:
    """Sets the pixels of a mask in a canvas (h, w) bool, all of which must lie in it.

    Args:
        runs: The mask.
        canvas: Changed in place.
        corner: Row and column of its first pixel in the image.
    """
    top, left = corner
    for column, start, end in runs.tolist():
        canvas[start - top : end - top, column - left] = True


def runs_rle(runs: np.ndarray, height: int, width: int) -> dict[str, Any]:
    """A mask as the compressed COCO RLE of the whole image, which JSON can hold.

    Raises:
        ValueError: The image has more pixels than pycocotools can count.

    Example:
        >>> runs_rle(np.array([[0, 0, 2], [1, 0, 2], [2, 0, 2]]), 2, 3)
        {'size': [2, 3], 'counts': '06'}
    """
    if height * width >= MOST_PIXELS:
        raise ValueError(
            f"COCO's masks are of images below 2**32 pixels; this one is {width}x{height}."
        )
    starts, ends = _merge(*_along_columns(runs, height))
    borders = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(borders, prepend=0, append=height * width)
    if counts[-1] == 0:
        counts = counts[:-1]
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode()}


def _along_columns(runs, height):
    """Starts and ends counted along the columns of an image of this height, in order."""
    runs = runs[np.lexsort((runs[:, 1], runs[:, 0]))].astype(np.int64)
    return runs[:, 0] * height + runs[:, 1], runs[:, 0] * height + runs[:, 2]


def _merge(starts, ends):
    """Ordered intervals, those joined that touch or overlap."""
    reached = np.maximum.accumulate(ends)
    first = np.ones(len(starts), bool)
    first[1:] = starts[1:] > reached[:-1]
    last = np.append(first[1:], True)[: len(starts)]
    return starts[first], reached[last]
