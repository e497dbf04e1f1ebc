"""From what a file says of an object to an `Instance`, checked."""

import itertools
import math
from collections.abc import Callable
from typing import Any

from pycocotools import mask as coco_mask

from keras_maskrcnn.data.formats.shared.values import coordinates, flag, number
from keras_maskrcnn.data.masks import compressed_rle
from keras_maskrcnn.data.outlines import polygon_area
from keras_maskrcnn.data.records import Instance, Problem

# A box contradicts a segmentation if a side of it is more than so many pixels away and their
# intersection over union is less. Of 852 objects of COCO the boxes are up to 1 pixel away, with at
# least 0.94; a box [10, 10, 60, 50] whose last two numbers are a corner, not its sides, has 0.67.
ROUNDED, LEAST_IOU = 1.5, 0.8
FLAT = 1e-6  # twice the area of a triangle, in pixels: less is rounding


def make_instance(
    annotation: dict[str, Any],
    class_id: int,
    height: int,
    width: int,
    mended: Callable[[str], None],
) -> Instance:
    """An annotation in COCO's fields as an `Instance`.

    The box is `bbox`, unless it is missing, cannot be used or contradicts the segmentation: then it
    is that of the segmentation.

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
    extent = None if segmentation is None else _extent(segmentation, height, width)
    box = _box(annotation.get("bbox"), extent, height, width, mended)
    if max(box) <= 1.0 and not isinstance(segmentation, dict):
        raise ValueError(
            f"the box {_text(box)} lies within the first pixel: coordinates must be pixels, not "
            "shares of the image's sides"
        )
    annotation_id = _known_id(annotation.get("id"))
    if annotation_id is None and annotation.get("id") is not None:
        mended(f"id must be a whole number or a text, got {annotation['id']!r:.80}; it has none")
    return Instance(
        box=box,
        class_id=class_id,
        segmentation=segmentation,
        crowd=flag(annotation.get("iscrowd"), "iscrowd"),
        area=_area(annotation.get("area"), segmentation, box, mended),
        annotation_id=annotation_id,
    )


def mender(
    problems: list[Problem], where: str, annotation_id: int | str | None = None
) -> Callable[[str], None]:
    """What `make_instance` calls for the annotation at `where`; it adds to `problems`."""
    known = _known_id(annotation_id)
    return lambda what: problems.append(Problem(where, what, annotation_id=known))


def _known_id(given):
    """The id of an annotation as `Instance` has it, None of a list, say."""
    if isinstance(given, float) and given.is_integer():
        return int(given)
    return given if isinstance(given, int | str) and not isinstance(given, bool) else None


def _segmentation(segmentation, height, width, mended):
    """Polygons or an RLE that can be used, None if nothing is annotated."""
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, dict):
        return segmentation
    if isinstance(segmentation, list) and isinstance(segmentation[0], int | float):
        segmentation = [segmentation]  # one polygon alone: VIA's export to COCO
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation must be polygons or an RLE, got {segmentation!r:.80}")
    usable = [_is_polygon(polygon) for polygon in segmentation]
    if not any(usable):
        raise ValueError("no polygon has three points")
    polygons = []
    for index, polygon in enumerate(segmentation):
        if not usable[index]:
            mended(f"polygon {index} is no list of at least three points x, y; it is left out")
            continue
        polygon = _numbers(polygon, len(polygon), f"polygon {index}")
        if _encloses_nothing(polygon):
            mended(f"polygon {index} encloses nothing: its points lie on a line; it is left out")
        else:
            polygons.append(polygon)
    if not polygons:
        raise ValueError("its polygons enclose nothing: their points lie on a line")
    return polygons


def _encloses_nothing(polygon):
    """Whether each triangle of its first point and two that follow each other is flat."""
    x, y = polygon[:2]
    points = [
        (next_x - x, next_y - y)
        for next_x, next_y in zip(polygon[2::2], polygon[3::2], strict=True)
    ]
    return all(
        abs(one_x * other_y - one_y * other_x) < FLAT
        for (one_x, one_y), (other_x, other_y) in itertools.pairwise(points)
    )


def _is_polygon(values):
    return isinstance(values, list) and len(values) >= 6 and len(values) % 2 == 0


def _numbers(values, length, name):
    if not isinstance(values, list | tuple) or len(values) != length:
        raise ValueError(f"{name} must be {length} numbers, got {values!r:.80}")
    return coordinates(values, name)


def _box(given, extent, height, width, mended):
    """The box that is given, or that of the segmentation, which may be None; clipped."""
    if given is None or given == []:
        if extent is None:
            raise ValueError("it has neither bbox nor segmentation")
        return _noted(extent, _clipped(extent, height, width), height, width, mended)
    try:
        corners = _corners(given)
        box = _clipped(corners, height, width)
    except (ValueError, TypeError) as error:
        if extent is None:
            raise
        own = _clipped(extent, height, width)
        mended(f"{error}; the box of its segmentation is taken")
        return own
    if extent is not None and not _close(corners, extent):
        own = _clipped(extent, height, width)
        if _contradict(box, own):
            mended(
                f"the bbox {given} (x, y, width, height) contradicts its segmentation, which has "
                f"x {own[0]:g} to {own[2]:g} and y {own[1]:g} to {own[3]:g}; the box of its "
                "segmentation is taken"
            )
            return own
    return _noted(corners, box, height, width, mended)


def _corners(bbox):
    x, y, w, h = _numbers(bbox, 4, "bbox")
    if w <= 0 or h <= 0:
        raise ValueError(f"the box [x, y, width, height] = {bbox} is empty or inverted")
    return x, y, x + w, y + h


def _clipped(corners, height, width):
    x0, y0, x1, y1 = corners
    box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"the box {_text(corners)} lies outside the image of {width}x{height}")
    return box


def _noted(corners, box, height, width, mended):
    """The box, after it was said if much of it had to be clipped."""
    if max(box[0] - corners[0], box[1] - corners[1], corners[2] - box[2], corners[3] - box[3]) > 1:
        mended(
            f"the box {_text(corners)} reaches out of the image of {width}x{height}; it is clipped"
        )
    return box


def _text(corners):
    x0, y0, x1, y1 = corners
    return f"[x, y, width, height] = [{x0:g}, {y0:g}, {x1 - x0:g}, {y1 - y0:g}]"


def _close(corners, others):
    return all(abs(one - other) <= ROUNDED for one, other in zip(corners, others, strict=True))


def _contradict(box, own):
    """Whether a box lies elsewhere than that of the segmentation; both are clipped."""
    if _close(box, own):
        return False
    width = min(box[2], own[2]) - max(box[0], own[0])
    height = min(box[3], own[3]) - max(box[1], own[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared < LEAST_IOU * (_size(box) + _size(own) - shared)


def _size(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def _extent(segmentation, height, width):
    """The corners (x0, y0, x1, y1) of a segmentation."""
    if isinstance(segmentation, dict):
        x, y, w, h = coco_mask.toBbox(compressed_rle(segmentation, height, width)).tolist()
        if not w or not h:
            raise ValueError("its RLE is empty: no pixel of it is set")
        return x, y, x + w, y + h
    x = list(itertools.chain.from_iterable(polygon[::2] for polygon in segmentation))
    y = list(itertools.chain.from_iterable(polygon[1::2] for polygon in segmentation))
    return min(x), min(y), max(x), max(y)


def _area(given, segmentation, box, mended):
    """The area that is given, or that of the segmentation."""
    if given is not None:
        if 0 <= (area := number(given)) < math.inf:
            return area
        mended(f"the area must be a number of pixels, got {given!r:.80}; that of its mask is taken")
    if segmentation is None:
        return _size(box)
    if isinstance(segmentation, list):
        return sum(polygon_area(polygon) for polygon in segmentation)
    counts = segmentation["counts"]
    return float(sum(counts[1::2]) if isinstance(counts, list) else coco_mask.area(segmentation))
