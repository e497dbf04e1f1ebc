"""Annotated masks: run-length codes, and masks cut out in their boxes.

Cut out, they take no more memory in a larger image.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from pycocotools import mask as coco_mask

from keras_maskrcnn.data.records import Box, Record

# Numbers of five bits a character; all but the last character of a number have the sixth bit too.
RLE_COUNTS = re.compile(rb"(?:[P-o]{0,6}[0-O])*")
# Pixels around an image, behind which polygons are cut off: pycocotools walks along all of them,
# in time and memory, and numbers their points in 32 bits.
FAR = 2.0**14


def crop_masks(
    masks: np.ndarray | tf.Tensor, boxes: np.ndarray | tf.Tensor, size: int = 112
) -> np.ndarray | tf.Tensor:
    """Cuts masks out in their boxes and resamples them to `size` x `size`.

    Cell (i, j) is the mask at the cell's centre, bilinear between the centres of pixels.

    Args:
        masks: (N, H, W) full-size masks, 0 or 1, a numpy array or a tensor.
        boxes: (N, 4) xyxy pixels.
        size: Cells along each side.

    Returns:
        (N, size, size) uint8 0 or 1, a tensor if `masks` or `boxes` is one, else an array.

    Example:
        >>> masks = np.zeros((1, 20, 20), np.uint8)
        >>> masks[0, 5:15, 5:10] = 1
        >>> crop_masks(masks, np.array([[5., 5., 15., 15.]]), size=4)[0, 0].tolist()
        [1, 1, 0, 0]
    """
    if tf.is_tensor(masks) or tf.is_tensor(boxes):
        return _crop_tensor(masks, boxes, size)
    masks, boxes = np.asarray(masks), np.asarray(boxes, np.float32)
    crops = [_crop(mask, box, size) for mask, box in zip(masks, boxes, strict=True)]
    return np.stack(crops) if crops else np.zeros((0, size, size), np.uint8)


def _crop(mask, box, size):
    low_y, high_y, fraction_y = _neighbours(box[1], box[3], mask.shape[0], size)
    low_x, high_x, fraction_x = _neighbours(box[0], box[2], mask.shape[1], size)
    rows = mask[low_y] * (1 - fraction_y)[:, None] + mask[high_y] * fraction_y[:, None]
    cells = rows[:, low_x] * (1 - fraction_x) + rows[:, high_x] * fraction_x
    return (cells >= 0.5).astype(np.uint8)


def _neighbours(start, end, length, size):
    """The pixels below and above each cell's centre on one axis, and the share of the upper."""
    step = (end - start) / np.float32(size)
    centres = start + (np.arange(size, dtype=np.float32) + np.float32(0.5)) * step
    position = np.clip(centres - np.float32(0.5), 0, length - 1)
    low = position.astype(np.int32)
    return low, np.minimum(low + 1, length - 1), position - low


def _crop_tensor(masks, boxes, size):
    masks, boxes = tf.cast(masks, tf.float32), tf.cast(boxes, tf.float32)
    rows = _interpolation(boxes[:, 1], boxes[:, 3], tf.shape(masks)[1], size)
    columns = _interpolation(boxes[:, 0], boxes[:, 2], tf.shape(masks)[2], size)
    cells = tf.matmul(tf.matmul(rows, masks), columns, transpose_b=True)
    return tf.cast(cells >= 0.5, tf.uint8)


def _interpolation(start, end, length, size):
    """Weights (N, size, length) of the pixels at each cell's centre on one axis."""
    length = tf.cast(length, tf.float32)
    step = ((end - start) / float(size))[:, None]
    centres = start[:, None] + (tf.range(size, dtype=tf.float32) + 0.5) * step
    position = tf.clip_by_value(centres - 0.5, 0.0, length - 1.0)[..., None]
    return tf.maximum(1.0 - tf.abs(position - tf.range(length)), 0.0)


def rasterize(
    segmentation: list[list[float]] | dict[str, Any],
    box: Box,
    height: int,
    width: int,
    size: int,
) -> np.ndarray:
    """An annotated mask, cut out in its box: (size, size) uint8.

    Polygons are scaled into the box and filled there, which loses nothing to the pixels of the
    image; an RLE is decoded and resampled.

    Args:
        segmentation: Polygons or an RLE, as in `Instance`.
        box: xyxy pixels.
        height: Of the image.
        width: Of the image.
        size: Cells along each side.

    Raises:
        ValueError: The RLE cannot be decoded.
    """
    if isinstance(segmentation, dict):
        return crop_masks(decode_rle(segmentation, height, width)[None], np.array([box]), size)[0]
    origin = np.array(box[:2])
    scale = size / np.maximum(np.array(box[2:]) - origin, 1e-6)
    scaled = [((np.reshape(polygon, (-1, 2)) - origin) * scale).ravel() for polygon in segmentation]
    return coco_mask.decode(polygons_rle(scaled, size, size))


def recut_mask(mask: np.ndarray, box: Box, new_box: Box) -> np.ndarray:
    """A mask (M, M) that is cut out in one box, cut out in another one, which lies in it.

    Example:
        >>> recut_mask(np.array([[0, 1], [0, 1]], np.uint8), (0, 0, 8, 8), (4, 0, 8, 4)).tolist()
        [[1, 1], [1, 1]]
    """
    scale = len(mask) / np.maximum(np.subtract(box[2:], box[:2]), 1e-6)
    cells = (np.reshape(new_box, (2, 2)) - box[:2]) * scale
    return crop_masks(mask[None], cells.reshape(1, 4), len(mask))[0]


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """A mask (H, W), 0 or 1, as a compressed COCO RLE that JSON can hold.

    Example:
        >>> encode_mask(np.ones((2, 3), np.uint8))
        {'size': [2, 3], 'counts': '06'}
    """
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def decode_mask(
    segmentation: list[list[float]] | dict[str, Any], height: int, width: int
) -> np.ndarray:
    """An annotated mask at the size of its image: (height, width) uint8."""
    if isinstance(segmentation, dict):
        return decode_rle(segmentation, height, width)
    return coco_mask.decode(polygons_rle(segmentation, height, width))


def polygons_rle(polygons: Sequence[Sequence[float]], height: int, width: int) -> dict[str, Any]:
    """The compressed RLE of the pixels in any of the polygons `[[x, y, x, y, ...], ...]`."""
    window = -FAR, max(height, width) + FAR
    near = [_cut_off(polygon, *window) for polygon in polygons]
    return coco_mask.merge(coco_mask.frPyObjects(near, height, width))


def _cut_off(polygon, low, high):
    """A polygon without what lies below `low` or above `high`; as it is, if nothing does."""
    if low <= min(polygon) and max(polygon) <= high:
        return polygon
    points = np.reshape(polygon, (-1, 2))
    for axis, sign, limit in ((0, 1, low), (0, -1, -high), (1, 1, low), (1, -1, -high)):
        inside = sign * points[:, axis] >= limit
        kept = []
        for index in range(len(points)):
            before, point = points[index - 1], points[index]
            if inside[index] != inside[index - 1]:
                share = (sign * limit - before[axis]) / (point[axis] - before[axis])
                kept.append(before + share * (point - before))
            if inside[index]:
                kept.append(point)
        points = np.reshape(kept, (-1, 2))
    return points.ravel().tolist() if len(points) else [low] * 6


def decode_rle(rle: dict[str, Any], height: int, width: int) -> np.ndarray:
    """A COCO RLE, compressed or not, as a mask (height, width) uint8.

    Raises:
        ValueError: Its size or the sum of its runs is not that of the image.
    """
    compressed = compressed_rle(rle, height, width)
    runs = _runs(compressed["counts"])
    # Where they add up to less, pycocotools leaves the last pixels as they are in memory.
    if runs.min(initial=0) < 0 or runs.sum() != height * width:
        raise ValueError(
            f"the RLE cannot be decoded: its runs add up to {runs.sum()}, not {height * width}"
        )
    try:
        return coco_mask.decode(compressed)
    except ValueError as error:
        raise ValueError(f"the RLE cannot be decoded: {error}") from error


def compressed_rle(rle: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """A COCO RLE as pycocotools takes it; the runs of one that was compressed are not added up.

    Raises:
        ValueError: It is of another size than the image, or it has no runs that can be read.
    """
    size = rle.get("size")
    if not isinstance(size, list | tuple) or list(size) != [height, width]:
        raise ValueError(f"the RLE is of size {size}, the image {[height, width]}")
    counts = rle.get("counts")
    if isinstance(counts, list):
        if not all(isinstance(count, int) and count >= 0 for count in counts):
            raise ValueError("the RLE's runs must be whole numbers from 0 up")
        if sum(counts) != height * width:
            raise ValueError(f"the RLE's runs add up to {sum(counts)}, not {height * width}")
        return coco_mask.frPyObjects(rle, height, width)
    if not isinstance(counts, str | bytes):
        raise ValueError(f"the RLE's counts must be a string or a list, got {counts!r:.80}")
    # pycocotools reads on behind the end of a string that stops within a number.
    if not RLE_COUNTS.fullmatch(counts.encode() if isinstance(counts, str) else counts):
        raise ValueError(f"the RLE's counts are not those of a compressed RLE: {counts!r:.80}")
    return rle


def _runs(counts):
    """The runs of a compressed RLE, as `rleFrString` of pycocotools reads them."""
    data = counts.encode() if isinstance(counts, str) else counts
    values = np.frombuffer(data, np.uint8).astype(np.int64) - ord("0")
    ends = np.flatnonzero(values < 32)  # the last character of each number
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    if not len(ends):
        return values
    places = 5 * (np.arange(len(values)) - np.repeat(starts, ends - starts + 1))
    numbers = np.add.reduceat((values & 31) << places, starts)
    numbers -= np.where(values[ends] & 16, np.int64(32) << places[ends], 0)
    # From the fourth on they are differences to the last but one.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def broken_masks(record: Record) -> dict[int, str]:
    """The objects of a record whose RLE cannot be decoded: why, by their indices."""
    broken = {}
    for index, instance in enumerate(record.instances):
        if isinstance(instance.segmentation, dict):
            try:
                decode_rle(instance.segmentation, record.height, record.width)
            except ValueError as error:
                broken[index] = str(error)
    return broken


def pack_mask(mask: np.ndarray) -> bytes:
    """A mask of 0 and 1 as bits, row after row.

    Example:
        >>> pack_mask(np.array([[0, 1], [1, 1]], np.uint8)).hex()
        '70'
    """
    return np.packbits(mask).tobytes()


def unpack_mask(packed: bytes, size: int) -> np.ndarray:
    """The mask (size, size) uint8 that `pack_mask` made the bits of."""
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=size * size)
    return bits.reshape(size, size)
