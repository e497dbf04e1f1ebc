"""Datasets in COCO's annotation format."""

import json
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from pycocotools.coco import COCO

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.ground_truth import coco_ground_truth
from keras_maskrcnn.data.images import read_image
from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.pipeline import Augment, make_batches
from keras_maskrcnn.data.records import Instance, Problem, Record


class CocoDataset:
    """Images and the objects annotated in them.

    Args:
        annotations: A COCO JSON file of instances.
        images: The folder of the image files that it names.
        class_names: The categories to keep, in the order of their class ids; all of them, in the
            order of their COCO ids, if None.

    Attributes:
        records: One `Record` an image that there is a file for.
        class_names: The name of each class id.
        category_ids: The COCO id of each class id.
        problems: What had to be passed over, a `Problem` each; grows while images are read.

    Raises:
        FileNotFoundError: There is no such annotation file.
        ValueError: It is no COCO file, or no image of it is there.

    Example:
        >>> dataset = CocoDataset("train.json", "images/")
        >>> dataset.class_names
        ('cat', 'dog')
    """

    def __init__(
        self,
        annotations: str | os.PathLike,
        images: str | os.PathLike,
        class_names: Sequence[str] | None = None,
    ):
        self.problems: list[Problem] = []
        self.source = os.fspath(annotations)
        content = _read_json(self.source)
        self.class_names, self.category_ids = _classes(content, class_names, self.source)
        instances = self._instances_by_image(content)
        self.records = [
            Record(info["id"], path, info["height"], info["width"], tuple(instances[info["id"]]))
            for info, path in self._images(content, pathlib.Path(images))
        ]
        if not self.records:
            raise ValueError(
                f"{self.source}: none of its {len(content['images'])} images is usable.\n"
                f"{self.problem_report()}"
            )

    def __len__(self) -> int:
        return len(self.records)

    def note(self, where: str, what: str) -> None:
        """Adds a problem to the list, once."""
        problem = Problem(where, what)
        if problem not in self.problems:
            self.problems.append(problem)

    def problem_report(self, most: int = 10) -> str:
        """The number of problems and the first of them, a line each."""
        lines = [f"{len(self.problems)} problems in {self.source}"]
        lines += [f"  {problem}" for problem in self.problems[:most]]
        if len(self.problems) > most:
            lines.append(f"  and {len(self.problems) - most} more")
        return "\n".join(lines)

    def batches(
        self,
        config: MaskRCNNConfig,
        batch_size: int = 1,
        training: bool = False,
        seed: int = 0,
        augmentation: Augment | None = None,
        start: int = 0,
    ) -> tf.data.Dataset:
        """Batches `(x, y)` as the model takes them; see `data.pipeline.make_batches`."""
        return make_batches(self, config, batch_size, training, seed, augmentation, start)

    def example(self, index: int) -> dict[str, np.ndarray]:
        """One record at full size, to look at.

        Returns:
            `image` (H, W, 3) uint8 RGB, `boxes` (n, 4) xyxy pixels, `class_ids` (n,), and `masks`
            (n, H, W) bool, crowds left out.
        """
        record = self.records[index]
        instances = [instance for instance in record.instances if not instance.crowd]
        masks = np.zeros((len(instances), record.height, record.width), bool)
        for mask, instance in zip(masks, instances, strict=True):
            if instance.segmentation is not None:
                mask[:] = decode_mask(instance.segmentation, record.height, record.width)
        return {
            "image": read_image(record.path),
            "boxes": np.array([i.box for i in instances], np.float32).reshape(-1, 4),
            "class_ids": np.array([i.class_id for i in instances], np.int32),
            "masks": masks,
        }

    def ground_truth(self) -> COCO:
        """The records as a pycocotools `COCO`, for the official evaluation."""
        return coco_ground_truth(self.records, self.class_names, self.category_ids)

    def _images(self, content, folder):
        """The entries of images that can be used, and their paths."""
        for index, info in enumerate(content["images"]):
            where = f"{self.source}: images[{index}]"
            missing = [key for key in ("id", "file_name", "height", "width") if key not in info]
            if missing:
                self.note(where, f"has no {', '.join(missing)}; the image is left out")
                continue
            path = os.fspath(folder / info["file_name"])
            if not os.path.isfile(path):
                self.note(where, f"there is no image file {path}; the image is left out")
                continue
            yield info, path

    def _instances_by_image(self, content):
        sizes = {
            info["id"]: (info["height"], info["width"])
            for info in content["images"]
            if {"id", "height", "width"} <= info.keys()
        }
        known = {category["id"] for category in content["categories"]}
        class_ids = {category_id: i for i, category_id in enumerate(self.category_ids)}
        instances: dict[Any, list[Instance]] = {image_id: [] for image_id in sizes}
        for index, annotation in enumerate(content["annotations"]):
            where = f"{self.source}: annotation {annotation.get('id', f'at index {index}')}"
            try:
                category, image_id = annotation.get("category_id"), annotation.get("image_id")
                if category not in known:
                    raise ValueError(f"unknown category id {category}")
                if image_id not in sizes:
                    raise ValueError(f"unknown image id {image_id}")
                if category in class_ids:
                    height, width = sizes[image_id]
                    instance = _instance(
                        annotation,
                        class_ids[category],
                        height,
                        width,
                        lambda what, where=where: self.note(where, what),
                    )
                    instances[image_id].append(instance)
            except (ValueError, TypeError) as error:
                self.note(where, f"{error}; it is left out")
        return instances


def _read_json(path):
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(p), list) for p in parts):
        found = list(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path}: not a COCO annotation file: it needs the lists {', '.join(parts)}; "
            f"found {found}."
        )
    return content


def _classes(content, class_names, source):
    """Names and COCO ids of the classes, in the order of their class ids."""
    ids = {category["name"]: category["id"] for category in content["categories"]}
    if class_names is None:
        class_names = sorted(ids, key=ids.get)
    unknown = [name for name in class_names if name not in ids]
    if unknown:
        raise ValueError(f"{source}: no category {unknown[0]!r}; there are {', '.join(ids)}.")
    return tuple(class_names), tuple(ids[name] for name in class_names)


def _instance(annotation, class_id, height, width, note):
    """An annotation as an Instance; ValueError says why it cannot be one."""
    segmentation = _segmentation(annotation.get("segmentation"), height, width, note)
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
        note(f"the box {box} reaches out of the image of {width}x{height}; it is clipped")
    return Instance(
        box=clipped,
        class_id=class_id,
        segmentation=segmentation,
        crowd=bool(annotation.get("iscrowd", 0)),
        area=float(annotation.get("area", w * h)),
        annotation_id=annotation.get("id"),
    )


def _segmentation(segmentation, height, width, note):
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
    polygons = []
    for index, polygon in enumerate(segmentation):
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            note(f"polygon {index} is no list of at least three points x, y; it is left out")
            continue
        polygons.append(_numbers(polygon, len(polygon), f"polygon {index}"))
    if not polygons:
        raise ValueError("no polygon has three points")
    return polygons


def _numbers(values, length, name):
    if not isinstance(values, list | tuple) or len(values) != length:
        raise ValueError(f"{name} must be {length} numbers, got {values!r:.80}")
    numbers = [float(value) for value in values]
    if not all(math.isfinite(number) for number in numbers):
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
