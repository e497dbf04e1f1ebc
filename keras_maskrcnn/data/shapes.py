"""A synthetic set that a small model learns in minutes: textured shapes over clutter.

Shapes of six classes, or of four further ones, turned, overlapping and cut off at the border, on
noisy backgrounds with lines across them. Masks are what is visible of a shape.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from keras_maskrcnn.data.dataset import CocoDataset
from keras_maskrcnn.data.masks import encode_mask

CLASS_NAMES = ("ellipse", "rectangle", "triangle", "star", "ring", "cross")
# Unknown to who learned those: what to fine-tune on.
NEW_CLASS_NAMES = ("heart", "moon", "arrow", "house")
# Of a shape that others hide, at least this share and this many pixels must remain.
LEAST_VISIBLE_SHARE, LEAST_VISIBLE_PIXELS = 0.25, 40
SUPERSAMPLING = 2
# Of the distance at which the circles around two shapes touch: few shapes fill their circle.
CLOSENESS = 0.85


@dataclasses.dataclass(frozen=True)
class Scene:
    """How many shapes a picture has, how large and how thin they are, and how close together.

    Args:
        number: Fewest and most shapes in a picture.
        radius: Smallest and largest radius, as a share of the picture's side.
        thickness: Of the shapes' parts, 1 as drawn by default: rings, stars, crosses, rectangles
            and ellipses of 0.5 are half as thick. Of the new classes only moon and arrow have it.
        touching: Chance, 0..1, that a shape lies so close beside the one before that they touch.

    Raises:
        ValueError: A value out of its range.
    """

    number: tuple[int, int] = (2, 8)
    radius: tuple[float, float] = (0.05, 0.24)
    thickness: float = 1.0
    touching: float = 0.0

    def __post_init__(self):
        for name in ("number", "radius"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be 0 < lowest <= highest, got {low} and {high}.")
        if not 0 < self.thickness <= 1 or not 0 <= self.touching <= 1:
            raise ValueError(
                "thickness must be above 0 and at most 1, and touching within 0..1, got "
                f"{self.thickness} and {self.touching}."
            )


PLAIN = Scene()


def generate(
    folder: str | os.PathLike,
    count: int,
    size: int = 192,
    seed: int = 0,
    class_names: Sequence[str] = CLASS_NAMES,
    scene: Scene = PLAIN,
) -> CocoDataset:
    """Writes pictures and their annotations, and returns them as a dataset.

    Args:
        folder: Where `images/*.jpg` and `annotations.json` go; made if it is missing.
        count: Number of pictures.
        size: Their side, in pixels.
        seed: The same seed draws the same pictures; picture i is the same for any `count`.
        class_names: The shapes to draw, of `CLASS_NAMES` and `NEW_CLASS_NAMES`; they become the
            classes.
        scene: What makes a picture easy or hard.

    Raises:
        ValueError: `count` is below 1 or `size` below 32, or there is no such shape.

    Example:
        >>> dataset = generate("shapes", 4)
        >>> len(dataset), dataset.class_names[0]
        (4, 'ellipse')
    """
    if count < 1 or size < 32:
        raise ValueError(f"count must be at least 1 and size at least 32, got {count} and {size}.")
    known = CLASS_NAMES + NEW_CLASS_NAMES
    unknown = [name for name in class_names if name not in known]
    if unknown or not class_names:
        raise ValueError(f"class_names must be of {', '.join(known)}; got {unknown}.")
    folder = pathlib.Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for i in range(count):
        image, class_ids, masks = draw_picture(
            np.random.default_rng([seed, i]), size, class_names, scene
        )
        name = f"{i:06}.jpg"
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "images" / name), bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])
        images.append({"id": i + 1, "file_name": name, "width": size, "height": size})
        for class_id, mask in zip(class_ids, masks, strict=True):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": i + 1, **_annotation(class_id, mask)}
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(class_names, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return CocoDataset(folder / "annotations.json", folder / "images")


def draw_picture(
    rng: np.random.Generator,
    size: int = 192,
    class_names: Sequence[str] = CLASS_NAMES,
    scene: Scene = PLAIN,
) -> tuple[np.ndarray, list[int], list[np.ndarray]]:
    """One picture (size, size, 3) uint8 RGB, and the class and visible mask of each shape in it."""
    canvas = _texture(rng, size)
    _draw_lines(rng, canvas, rng.integers(2, 7))
    class_ids, masks, areas = [], [], []
    circle = None
    for _ in range(rng.integers(scene.number[0], scene.number[1] + 1)):
        class_id = int(rng.integers(len(class_names)))
        circle = _circle(rng, size, scene, circle)
        coverage = _shape_coverage(rng, class_names[class_id], size, circle, scene.thickness)
        canvas = canvas + coverage[..., None] * (_texture(rng, size) - canvas)
        covered = coverage >= 0.5
        masks = [mask & ~covered for mask in masks]
        class_ids.append(class_id)
        masks.append(covered)
        areas.append(covered.sum())
    least = [max(LEAST_VISIBLE_PIXELS, LEAST_VISIBLE_SHARE * area) for area in areas]
    kept = [i for i, mask in enumerate(masks) if mask.sum() >= least[i]]
    canvas = cv2.GaussianBlur(canvas, (3, 3), 0.5)
    canvas = canvas + rng.normal(0, rng.uniform(2, 9), canvas.shape)
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    return image, [class_ids[i] for i in kept], [masks[i].astype(np.uint8) for i in kept]


def _annotation(class_id, mask):
    rle = encode_mask(mask)
    return {
        "category_id": class_id + 1,
        "bbox": coco_mask.toBbox(rle).tolist(),
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": rle,
    }


def _texture(rng, size):
    """A plain, shaded, striped, chequered or cloudy surface of two colours, (size, size, 3)."""
    first = rng.uniform(0, 255, 3)
    second = np.clip(first + rng.normal(0, 70, 3), 0, 255)
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 28)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    kind = rng.integers(5)
    if kind == 0:
        share = np.zeros((size, size), np.float32)
    elif kind == 1:
        share = (u - u.min()) / np.ptp(u)
    elif kind == 2:
        share = 0.5 + 0.5 * np.sin(2 * np.pi * u / period)
    elif kind == 3:
        share = ((u // period + v // period) % 2).astype(np.float32)
    else:
        coarse = rng.uniform(0, 1, (6, 6)).astype(np.float32)
        share = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return (first + share[..., None] * (second - first)).astype(np.float32)


def _draw_lines(rng, canvas, number):
    """Clutter that belongs to no class."""
    size = len(canvas)
    for _ in range(number):
        ends = rng.integers(0, size, (2, 2))
        colour = rng.uniform(0, 255, 3).tolist()
        thickness = int(rng.integers(1, max(2, size // 40) + 1))
        cv2.line(canvas, ends[0].tolist(), ends[1].tolist(), colour, thickness, cv2.LINE_AA)


def _circle(rng, size, scene, before):
    """Radius and centre of a shape, in pixels; perhaps it touches the circle of the one before."""
    radius = size * np.exp(rng.uniform(*np.log(scene.radius)))
    centre = rng.uniform(-0.02 * size, 1.02 * size, 2)
    if before is not None and scene.touching and rng.uniform() < scene.touching:
        direction = rng.uniform(0, 2 * np.pi)
        away = np.array([np.cos(direction), np.sin(direction)]) * CLOSENESS * (radius + before[0])
        centre = np.clip(before[1] + away, 0, size)
    return radius, centre


def _shape_coverage(rng, name, size, circle, thickness):
    """The share (size, size) of each pixel that one shape of a class covers."""
    radius, centre = circle
    if name in ("ellipse", "rectangle"):
        squash = rng.uniform(0.35, 0.95) * thickness
    else:
        squash = rng.uniform(0.8, 1)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    fine = np.zeros((size * SUPERSAMPLING, size * SUPERSAMPLING), np.uint8)
    for value, outline in _outlines(name, thickness):
        points = (outline * (1, squash)) @ turn * radius + centre
        cv2.fillPoly(fine, [np.round(points * SUPERSAMPLING).astype(np.int32)], value)
    return cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _outlines(name, thickness):
    """What to fill, 255, and then to cut out again, 0: polygons of radius 1 about the origin."""
    if name in ("ellipse", "ring"):
        outlines = [(255, _polygon(np.ones(48)))]
        hole = [(0, _polygon(np.full(48, 1 - 0.45 * thickness)))] if name == "ring" else []
        return outlines + hole
    if name == "rectangle":
        return [(255, np.array([[-1, -0.8], [1, -0.8], [1, 0.8], [-1, 0.8]]))]
    if name == "triangle":
        return [(255, _polygon(np.ones(3)))]
    if name == "star":
        return [(255, _polygon(np.tile([1.0, 0.42 * thickness], 5)))]
    if name in NEW_CLASS_NAMES:
        return _new_outlines(name, thickness)
    arm = 0.32 * thickness
    bar = np.array([[-1, -arm], [1, -arm], [1, arm], [-1, arm]])
    return [(255, bar), (255, bar[:, ::-1])]


def _new_outlines(name, thickness):
    """As `_outlines`, of the new classes."""
    if name == "heart":
        t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        x = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return [(255, np.stack([x + 2.5, 16 * np.sin(t) ** 3], axis=1) / 16)]
    if name == "moon":
        disc = _polygon(np.ones(48))
        return [(255, disc), (0, 0.9 * disc + [0.6 * thickness, 0])]
    if name == "arrow":
        shaft = 0.25 * thickness
        half = [[-1, shaft], [0.1, shaft], [0.1, 0.75]]
    else:
        half = [[-0.75, 0.65], [0.25, 0.65]]
    mirrored = [[x, -y] for x, y in reversed(half)]
    return [(255, np.array([*half, [1, 0], *mirrored]))]


def _polygon(radii):
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
