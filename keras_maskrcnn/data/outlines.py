"""Polygons `[x, y, x, y, ...]` in pixels: of shapes, and along the edges of masks."""

import math
from collections.abc import Sequence

import cv2
import numpy as np


def ellipse_polygon(
    centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0, points: int = 72
) -> list[float]:
    """An ellipse as a polygon `[x, y, x, y, ...]` of points on it.

    Args:
        centre: x, y in pixels.
        radii: Along its own x and y, in pixels.
        angle: Its turn from x towards y, in radians.
        points: Number of points; 72 leave out 0.13 % of the area.

    Raises:
        ValueError: A radius is not above 0.
    """
    if not min(radii) > 0:
        raise ValueError(f"a circle or ellipse of radius {min(radii)} is empty")
    turns = np.linspace(0, 2 * math.pi, points, endpoint=False)
    x, y = radii[0] * np.cos(turns), radii[1] * np.sin(turns)
    cos, sin = math.cos(angle), math.sin(angle)
    outline = np.stack([centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos], axis=1)
    return outline.ravel().tolist()


def rectangle_polygon(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    """The corners `[x, y, x, y, ...]` of a box, xyxy in pixels."""
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def polygon_area(polygon: Sequence[float]) -> float:
    """The area that `[x, y, x, y, ...]` encloses, in pixels."""
    x, y = np.reshape(polygon, (-1, 2)).T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def trace_outlines(mask: np.ndarray) -> list[list[float]]:
    """Polygons `[[x, y, x, y, ...], ...]` along the pixels' edges, one a part of the mask.

    Filled again they give the mask: there is a cut of no width, there and back, to each hole.

    Args:
        mask: (H, W), 0 or 1.

    Example:
        >>> mask = np.zeros((4, 5), np.uint8)
        >>> mask[1:3, 1:4] = 1
        >>> sorted(zip(*[iter(trace_outlines(mask)[0])] * 2))
        [(1.0, 1.0), (1.0, 3.0), (4.0, 1.0), (4.0, 3.0)]
    """
    outlines = []
    for part, left, top in _parts(np.asarray(mask, np.uint8)):
        # Around a hole the other way, so that its area counts as none.
        around = [_edges(hole)[::-1] + (x, y) for hole, x, y in _parts(_holes(part))]
        outlines.append(join_outlines([loop + (left, top) for loop in (_edges(part), *around)]))
    return outlines


def join_outlines(outlines: Sequence[Sequence[float]]) -> list[float]:
    """One polygon that runs along several, through cuts of no width that it takes there and back.

    It encloses what lies in an odd number of them: parts of an object that do not overlap, and
    around a hole, of which the outline is one too.

    Args:
        outlines: Polygons `[x, y, x, y, ...]`, at least one.

    Example:
        >>> join_outlines([[0, 0, 1, 0, 1, 1], [3, 0, 4, 0, 4, 1]])
        [0.0, 0.0, 1.0, 0.0, 3.0, 0.0, 4.0, 0.0, 4.0, 1.0, 3.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    """
    joined, *others = (np.reshape(outline, (-1, 2)).astype(float) for outline in outlines)
    for other in others:
        cut = _nearest(joined, other[0])
        first = _nearest(other, joined[cut])
        there = [joined[: cut + 1], other[first:], other[: first + 1]]
        joined = np.concatenate([*there, joined[cut:]])
    return joined.ravel().tolist()


def _nearest(points, point):
    return int(np.square(points - point).sum(axis=1).argmin())


def _parts(mask):
    """The parts of a mask that are connected by edges, each cut out, and where: left and top."""
    number, parts, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    for part in range(1, number):
        left, top, width, height = boxes[part, : cv2.CC_STAT_AREA]
        inside = parts[top : top + height, left : left + width] == part
        yield inside.astype(np.uint8), left, top


def _holes(part):
    """What no path along edges joins to the outside of a part."""
    around = np.pad(part == 0, 1, constant_values=True).astype(np.uint8)
    _, areas = cv2.connectedComponents(around, connectivity=4)
    return ((around > 0) & (areas != areas[0, 0]))[1:-1, 1:-1].astype(np.uint8)


def _edges(part):
    """The points (n, 2) along the pixels' edges around a part and its holes."""
    # OpenCV's contours run through the centres of pixels. With each pixel cut in four, the corner
    # of a pixel is the nearest whole number of its outer quarter's centre.
    fine = np.repeat(np.repeat(part, 2, axis=0), 2, axis=1)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.round((contours[0][:, 0] + 0.5) / 2)
    return _corners(points[np.any(points != np.roll(points, 1, axis=0), axis=1)])


def _corners(points):
    """Of a closed path along a grid, the points at which it turns."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return points[turns != 0]
