"""From what a file says of an object to an `Instance`, checked."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.outlines import polygon_area
from keras_maskrcnn.data.records import Instance, Problem


def make_instance(
    annotation: dict[str, Any],
    class_id: int,
    height: int,
    width: int,
    mended: Callable[[str], None],
) -> Instance:
    """An annotation in COCO's fields as an `Instance`.

    Args:
        annotation: `segmentation`, `bbox` [x, y, width, height], `area`, `iscrowd`, `id`; what is
            missing of box and area is that of the segmentation.
        class_id: From 0.
        height: Of the image.
        width: Of the image.
        mended: Called with what had to be changed to make it usable.

    Raises:
        ValueError: Why it cannot be used.
        TypeError: A value of it is of a wrong type.
    """
    segmentation = _segmentation(annotation.get("segmentation"), height, width, mended)
    box = annotation.get("bbox")
    if box is None:
        box = _box_of(segmentation, height, width)
    x, y, w, h = _numbers(box, 4, "bbox")
    if w <= 0 or h <= 0:
        raise ValueError(f"the box [x, y, width, height] = {box} is empty or inverted")
    clipped = (max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise ValueError(f"the box {box} lies outside the image of {width}x{height}")
    if max(-x, -y, x + w - width, y + h - height) > 1.0:
        mended(f"the box {box} reaches out of the image of {width}x{height}; it is clipped")
    area = annotation.get("area")
    return Instance(
        box=clipped,
        class_id=class_id,
        segmentation=segmentation,
        crowd=bool(annotation.get("iscrowd", 0)),
        area=float(area) if area is not None else _area(segmentation, w * h),
        annotation_id=annotation.get("id"),
    )


def mender(problems: list[Problem], where: str) -> Callable[[str], None]:
    """What `make_instance` calls for the annotation at `where`; it adds to `problems`."""
    return lambda what: problems.append(Problem(where, what))


def _segmentation(segmentation, height, width, mended):
    """Polygons or an RLE that can be used, None if nothing is annotated."""
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, dict):
        if list(segmentation.get("size", ())) != [height, width]:
            raise ValueError(
                f"the RLE is of size {segmentation.get('size')}, the image {[height, width]}"
            )
        return segmentation
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation must be polygons or an RLE, got {segmentation!r:.80}")
    usable = [_is_polygon(polygon) for polygon in segmentation]
    if not any(usable):
        raise ValueError("no polygon has three points")
    polygons = []
    for index, polygon in enumerate(segmentation):
        if usable[index]:
            polygons.append(_numbers(polygon, len(polygon), f"polygon {index}"))
        else:
            mended(f"polygon {index} is no list of at least three points x, y; it is left out")
    return polygons


def _is_polygon(values):
    return isinstance(values, list) and len(values) >= 6 and len(values) % 2 == 0


def _numbers(values, length, name):
    if not isinstance(values, list | tuple) or len(values) != length:
        raise ValueError(f"{name} must be {length} numbers, got {values!r:.80}")
    numbers = [float(value) for value in values]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name} has a coordinate that is NaN or infinite: {values!r:.80}")
    return numbers


def _box_of(segmentation, height, width):
    """The box [x, y, width, height] around a segmentation."""
    if segmentation is None:
        raise ValueError("it has neither bbox nor segmentation")
    if isinstance(segmentation, dict):
        rows, columns = np.nonzero(decode_mask(segmentation, height, width))
        if not len(rows):
            raise ValueError("it has no bbox, and its mask is empty")
        points = np.stack([columns, rows], 1)
        low, high = points.min(0), points.max(0) + 1
    else:
        points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in segmentation])
        low, high = points.min(0), points.max(0)
    return [float(value) for value in (*low, *(high - low))]


def _area(segmentation, area_of_box):
    if segmentation is None:
        return area_of_box
    if isinstance(segmentation, list):
        return sum(polygon_area(polygon) for polygon in segmentation)
    counts = segmentation.get("counts")
    return float(sum(counts[1::2]) if isinstance(counts, list) else coco_mask.area(segmentation))
