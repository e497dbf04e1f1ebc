"""Pictures of what was found: translucent masks, sharp outlines, readable labels."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX
# Boxes are drawn with this many bits behind the point, so that they lie where they were found.
SHIFT = 4
MASK_OPACITY = 0.45
PLATE_OPACITY = 0.85
PALETTE = (
    *((235, 64, 72), (50, 122, 250), (66, 178, 80), (255, 150, 30), (152, 84, 226)),
    *((30, 196, 220), (246, 104, 186), (242, 208, 44), (172, 106, 58), (0, 146, 130)),
    *((172, 222, 66), (96, 100, 176)),
)
SHADES = (0.0, 0.35, -0.3, 0.2, -0.15, 0.5)  # towards white, below 0 towards black

Colour = tuple[int, int, int]
Plate = tuple[int, int, int, int]  # left, top, right, bottom


def class_colour(class_id: int, instance: int = 0) -> Colour:
    """The RGB colour of an object: a hue for each class, a shade for each object of it.

    A class always has its hue; the hues repeat after twelve classes.

    Args:
        class_id: From 0.
        instance: The how-manieth object of its class in the picture, from 0.

    Example:
        >>> class_colour(0) == class_colour(0, instance=6) != class_colour(0, instance=1)
        True
    """
    base = np.array(PALETTE[class_id % len(PALETTE)])
    shade = SHADES[instance % len(SHADES)]
    mixed = base + (255 - base) * shade if shade > 0 else base * (1 + shade)
    red, green, blue = (round(float(part)) for part in mixed)
    return red, green, blue


def draw_detections(image: np.ndarray, detections) -> np.ndarray:
    """`Detections` on their image, (H, W, 3) uint8 RGB; the worst lie lowest.

    Where they have track ids, an object keeps its colour through the frames.
    """
    class_ids, track_ids = detections.class_ids.tolist(), detections.track_ids
    names, colours = detections.class_names, _colours(class_ids)
    if track_ids is not None:
        colours = list(map(class_colour, class_ids, np.maximum(track_ids, 0).tolist()))
        numbers = [f" #{track_id}" if track_id >= 0 else "" for track_id in track_ids]
        names = list(map("".join, zip(names, numbers, strict=True)))
    labels = [f"{name} {score:.0%}" for name, score in zip(names, detections.scores, strict=True)]
    _check(image, detections.boxes, class_ids, None, labels)
    part_of = detections.mask_part if detections.has_masks else None
    return _draw(image, detections.boxes, colours, part_of, labels)


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    class_ids: Sequence[int],
    masks: np.ndarray | None = None,
    labels: Sequence[str] = (),
) -> np.ndarray:
    """Objects on an image, the first of them on top.

    Lines and letters grow with the image. A label for which there is no free place is left out.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        boxes: (n, 4) xyxy pixels.
        class_ids: (n,) from 0; they give the colours.
        masks: (n, H, W) bool; boxes are drawn where there are none.
        labels: n texts, or none.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: A shape or a number of entries is wrong.

    Example:
        >>> image = np.zeros((48, 64, 3), np.uint8)
        >>> draw_instances(image, np.array([[8, 8, 40, 30]]), [0], labels=["cat"]).shape
        (48, 64, 3)
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    _check(image, boxes, class_ids, masks, labels)
    part_of = None if masks is None else lambda i: (np.asarray(masks[i], bool), (0, 0))
    return _draw(image, boxes, _colours(class_ids), part_of, labels)


def _draw(image, boxes, colours, part_of, labels):
    """As `draw_instances`; `part_of` gives a mask and its first pixel, one object at a time."""
    picture = np.ascontiguousarray(image).copy()
    line = max(1, round(_side(picture) / 450))
    for i in reversed(range(len(boxes))):
        if part_of is None:
            _draw_box(picture, boxes[i], colours[i], line)
        else:
            _draw_mask(picture, *part_of(i), colours[i], line)
    _draw_labels(picture, labels, boxes, colours)
    return picture


def grid(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures (h, w, 3) uint8 of any sizes on one sheet, row by row, on white.

    A row is as high as its highest picture, a column as wide as its widest.

    Raises:
        ValueError: There is no picture, or no column.
    """
    if not len(pictures) or columns < 1:
        raise ValueError(f"A grid needs pictures and columns, got {len(pictures)} and {columns}.")
    gap = 4
    columns = min(columns, len(pictures))
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(picture.shape[0] for picture in row) + gap for row in rows]
    widths = [
        max(picture.shape[1] for picture in pictures[column::columns]) + gap
        for column in range(columns)
    ]
    sheet = np.full((sum(heights) - gap, sum(widths) - gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = sum(heights[: i // columns]), sum(widths[: i % columns])
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def _check(image, boxes, class_ids, masks, labels):
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}.")
    if len(class_ids) != len(boxes) or len(labels) not in (0, len(boxes)):
        raise ValueError(f"{len(boxes)} boxes, {len(class_ids)} class_ids, {len(labels)} labels.")
    expected = (len(boxes), *image.shape[:2])
    if masks is not None and np.shape(masks) != expected:
        raise ValueError(f"masks must be {expected}, got {np.shape(masks)}.")


def _colours(class_ids):
    seen: dict[int, int] = {}
    colours = []
    for class_id in map(int, class_ids):
        colours.append(class_colour(class_id, seen.get(class_id, 0)))
        seen[class_id] = seen.get(class_id, 0) + 1
    return colours


def _side(picture):
    """The side of a square as large as the picture: what lines and letters grow with."""
    return math.sqrt(picture.shape[0] * picture.shape[1])


def _draw_mask(picture, part, corner, colour, line):
    if not part.any():
        return
    left, top, width, height = cv2.boundingRect(part.astype(np.uint8))
    inside = part[top : top + height, left : left + width]
    top, left = top + corner[0], left + corner[1]
    area = picture[top : top + height, left : left + width]
    _blend(area, colour, MASK_OPACITY, inside)
    contours, _ = cv2.findContours(
        inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(left, top)
    )
    # A darker line around keeps the outline visible on ground of its own colour.
    dark = tuple(part // 3 for part in colour)
    cv2.drawContours(picture, contours, -1, dark, line + 1, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, colour, line, cv2.LINE_AA)


def _draw_box(picture, box, colour, line):
    height, width = picture.shape[:2]
    limits = [width - 1, height - 1, width - 1, height - 1]
    corners = np.round(np.clip(box, 0, limits) * 2**SHIFT).astype(int).tolist()
    dark = tuple(part // 3 for part in colour)
    cv2.rectangle(picture, corners[:2], corners[2:], dark, line + 1, cv2.LINE_AA, SHIFT)
    cv2.rectangle(picture, corners[:2], corners[2:], colour, line, cv2.LINE_AA, SHIFT)


def _draw_labels(picture, labels, boxes, colours):
    """The labels, those of the first objects choosing their places first."""
    height, width = picture.shape[:2]
    scale = max(0.32, _side(picture) / 1300)
    thickness = max(1, round(1.4 * scale))
    pad = max(2, round(6 * scale))
    taken: list[Plate] = []
    for text, box, colour in zip(labels, boxes, colours, strict=False):
        (text_width, text_height), baseline = cv2.getTextSize(text, FONT, scale, thickness)
        size = text_width + 2 * pad, text_height + baseline + pad
        plate = _free_place(size, box, boxes, taken, (width, height))
        if plate is None:
            continue
        taken.append(plate)
        left, top, right, bottom = plate
        _blend(picture[top:bottom, left:right], colour, PLATE_OPACITY)
        ink = (0, 0, 0) if np.dot(colour, (0.299, 0.587, 0.114)) > 120 else (255, 255, 255)
        origin = (left + pad, top + pad // 2 + text_height)
        cv2.putText(picture, text, origin, FONT, scale, ink, thickness, cv2.LINE_AA)


def _free_place(size, box, boxes, taken, limits):
    """Where a plate hides no other plate and as little as possible of small objects, or None."""
    area = size[0] * size[1]
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    small = boxes[np.prod(sides, axis=1) < 5 * area]
    free = [
        plate
        for plate in _places(size, box, limits)
        if not any(_common_area(plate, other) for other in taken)
    ]
    # Of equally good places `min` takes the first, the most usual one.
    return min(free, key=lambda plate: sum(_common_area(plate, b) for b in small), default=None)


def _places(size, box, limits):
    """Plates at a box, moved into the picture: above it, inside, below, and to its sides."""
    width, height = size
    x0, y0 = (math.floor(value) for value in box[:2])
    x1, y1 = (math.ceil(value) for value in box[2:])
    corners = [
        *((x0, y0 - height), (x0, y0), (x0, y1), (x1 - width, y0 - height), (x1 - width, y1)),
        *((x1, y0), (x0 - width, y0), (x1, y1 - height), (x0 - width, y1 - height)),
        *((x0, y0 + step * height) for step in (1, 2, 3)),
    ]
    for x, y in corners:
        left = max(0, min(x, limits[0] - width))
        top = max(0, min(y, limits[1] - height))
        yield left, top, left + width, top + height


def _common_area(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _blend(area, colour, opacity, inside=...):
    """Lays a colour over the part of a picture that `inside` selects, in place."""
    area[inside] = (1 - opacity) * area[inside] + opacity * np.array(colour)
