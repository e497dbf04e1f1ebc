"""Pictures of what was found: translucent masks, sharp outlines, readable labels."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX
# Drawn with this many bits behind the point, so that outlines lie where the mask ends.
SHIFT = 4
GOLDEN_RATIO = 0.618034


def class_colour(class_id: int, instance: int = 0) -> tuple[int, int, int]:
    """The RGB colour of an object: a hue for each class, a shade for each object of it.

    Neighbouring class ids lie far apart on the colour circle, and a class always has its hue.

    Args:
        class_id: From 0.
        instance: The how-manieth object of its class in the picture.
    """
    hue = (0.02 + class_id * GOLDEN_RATIO) % 1.0
    saturation = (0.95, 0.6, 0.8)[instance % 3]
    value = (1.0, 0.95, 0.8)[instance % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_detections(image: np.ndarray, detections) -> np.ndarray:
    """`Detections` on their image, (H, W, 3) uint8 RGB; the worst lie lowest."""
    labels = [
        f"{name} {score:.0%}"
        for name, score in zip(detections.class_names, detections.scores, strict=True)
    ]
    masks = None if detections.box_masks is None else detections.masks
    return draw_instances(image, detections.boxes, detections.class_ids, masks, labels)


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    class_ids: Sequence[int],
    masks: np.ndarray | None = None,
    labels: Sequence[str] = (),
) -> np.ndarray:
    """Objects on an image, the first of them on top.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        boxes: (n, 4) xyxy pixels.
        class_ids: (n,) from 0; they give the colours.
        masks: (n, H, W) bool; boxes are drawn where there are none.
        labels: n texts, or none.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = np.ascontiguousarray(image).copy()
    colours = _colours(class_ids)
    order = range(len(boxes) - 1, -1, -1)
    line = max(1, round(min(image.shape[:2]) / 400))
    for i in order:
        if masks is None:
            _draw_box(picture, boxes[i], colours[i], line)
        else:
            _draw_mask(picture, masks[i], colours[i], line)
    taken: list[tuple[int, int, int, int]] = []
    for i, label in enumerate(labels):
        _draw_label(picture, label, boxes[i], colours[i], taken)
    return picture


def grid(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures (h, w, 3) uint8 of any sizes on one sheet, row by row, on white.

    Raises:
        ValueError: There is no picture, or no column.
    """
    if not pictures or columns < 1:
        raise ValueError(f"A grid needs pictures and columns, got {len(pictures)} and {columns}.")
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    rows = -(-len(pictures) // columns)
    gap = 4
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def _colours(class_ids):
    seen: dict[int, int] = {}
    colours = []
    for class_id in map(int, class_ids):
        colours.append(class_colour(class_id, seen.get(class_id, 0)))
        seen[class_id] = seen.get(class_id, 0) + 1
    return colours


def _draw_mask(picture, mask, colour, line):
    inside = picture[mask]
    picture[mask] = (0.55 * inside + 0.45 * np.array(colour)).astype(np.uint8)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    dark = tuple(int(0.35 * part) for part in colour)
    cv2.drawContours(picture, contours, -1, dark, line + 1, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, colour, line, cv2.LINE_AA)


def _draw_box(picture, box, colour, line):
    corners = np.round(np.asarray(box) * 2**SHIFT).astype(int).tolist()
    cv2.rectangle(picture, corners[:2], corners[2:], colour, line, cv2.LINE_AA, SHIFT)


def _draw_label(picture, text, box, colour, taken):
    """A plate in the object's colour at its upper left corner, moved down past other plates."""
    height, width = picture.shape[:2]
    scale = float(np.clip(min(height, width) / 1000, 0.3, 1.0))
    thickness = 2 if scale > 0.8 else 1
    (text_width, text_height), baseline = cv2.getTextSize(text, FONT, scale, thickness)
    pad = max(2, round(4 * scale))
    plate_width, plate_height = text_width + 2 * pad, text_height + baseline + pad
    x = int(np.clip(box[0], 0, max(0, width - plate_width)))
    y = int(np.clip(box[1], 0, max(0, height - plate_height)))
    while any(_overlap((x, y, plate_width, plate_height), other) for other in taken):
        y += plate_height
        if y + plate_height > height:
            return
    taken.append((x, y, plate_width, plate_height))
    area = picture[y : y + plate_height, x : x + plate_width]
    area[:] = (0.15 * area + 0.85 * np.array(colour)).astype(np.uint8)
    luminance = np.dot(colour, (0.299, 0.587, 0.114))
    ink = (0, 0, 0) if luminance > 140 else (255, 255, 255)
    origin = (x + pad, y + pad // 2 + text_height)
    cv2.putText(picture, text, origin, FONT, scale, ink, thickness, cv2.LINE_AA)


def _overlap(one, other):
    x, y, width, height = one
    left, top, other_width, other_height = other
    return x < left + other_width and left < x + width and y < top + other_height and top < y + height
