"""What is in a dataset: figures for its tables, and a sheet of its pictures."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.dataset import Dataset
from keras_maskrcnn.data.drawing import FONT, draw_instances, grid
from keras_maskrcnn.data.images import resize_image
from keras_maskrcnn.data.masks import broken_masks, decode_mask, decode_rle
from keras_maskrcnn.data.outlines import rectangle_polygon
from keras_maskrcnn.data.records import AnnotatedImages, Instance, Record, load_image

SMALL, MEDIUM = 32**2, 96**2  # COCO's bounds of the areas of small and medium objects, in pixels
CAPTION, GAP, INK = 34, 10, (60, 60, 60)  # pixels, pixels, RGB
DOUBT = (255, 0, 0)  # RGB
MOST_NAMES = 10


@dataclass(frozen=True)
class Figures:
    """Counts of a dataset, crowds not among its objects.

    Args:
        images: That can be used.
        empty_images: Of them, those without an object.
        objects: Annotated objects.
        crowds: Annotated regions of many objects.
        without_mask: Objects with a box only.
        objects_per_image: (images,) objects of each image.
        image_sizes: Number of images by (width, height), the most frequent first.
        object_areas: (objects,) pixels of the masks.
        class_objects: (classes,) objects of each class.
        class_images: (classes,) images with an object of each class.
    """

    images: int
    empty_images: int
    objects: int
    crowds: int
    without_mask: int
    objects_per_image: np.ndarray
    image_sizes: dict[tuple[int, int], int]
    object_areas: np.ndarray
    class_objects: np.ndarray
    class_images: np.ndarray


def figures(dataset: Dataset) -> Figures:
    """The counts of a dataset, from its annotations alone."""
    sizes: Counter = Counter((record.width, record.height) for record in dataset.records)
    objects = [[i for i in record.instances if not i.crowd] for record in dataset.records]
    every = [instance for inside in objects for instance in inside]
    crowds = sum(len(record.instances) for record in dataset.records) - len(every)
    number = len(dataset.class_names)
    present = [list({instance.class_id for instance in inside}) for inside in objects]
    class_images = np.zeros(number, int)
    for class_ids in present:
        class_images[class_ids] += 1
    return Figures(
        images=len(dataset),
        empty_images=sum(not inside for inside in objects),
        objects=len(every),
        crowds=crowds,
        without_mask=sum(instance.segmentation is None for instance in every),
        objects_per_image=np.array([len(inside) for inside in objects]),
        image_sizes=dict(sizes.most_common()),
        object_areas=np.array([instance.area for instance in every]),
        class_objects=np.bincount([i.class_id for i in every], minlength=number),
        class_images=class_images,
    )


def remarks(dataset: AnnotatedImages, figures: Figures, config: MaskRCNNConfig) -> list[str]:
    """What a training on the dataset would not make of it, in sentences that say what to do.

    Args:
        dataset: Whose classes they are.
        figures: Of the dataset.
        config: Of the model to train.
    """
    said = []
    for field, consequence, purpose in (
        ("max_gt_boxes", "training draws {} of them each time", "train on all of them"),
        ("box_detections_per_image", "the model finds {} at most", "leave room for all of them"),
    ):
        limit = getattr(config, field)
        crowded = int(np.sum(figures.objects_per_image > limit))
        if crowded:
            most = int(figures.objects_per_image.max())
            said.append(
                f"{dataset.source}: {crowded} of {figures.images} images have more than {limit} "
                f"objects ({field}), up to {most}; {consequence.format(limit)}. To {purpose}: "
                f"--{field.replace('_', '-')} {most}"
            )
    absent = [dataset.class_names[i] for i in np.flatnonzero(figures.class_objects == 0)]
    if figures.objects and absent:
        names = ", ".join(absent[:MOST_NAMES]) + " and others" * (len(absent) > MOST_NAMES)
        said.append(
            f"{dataset.source}: {len(absent)} of {len(dataset.class_names)} classes without an "
            f"object, which cannot be learnt: {names}. To do without, take them out of the "
            "annotations or choose class_names in open_dataset"
        )
    return said


def check_files(dataset: Dataset) -> Iterator[Record]:
    """Decodes every image and mask, notes those that are broken, and yields the records as it goes.

    Raises:
        ValueError: More than `dataset.max_broken` cannot be used.
    """

    def check(record):
        try:
            load_image(record)
        except (ValueError, OSError) as error:
            return record, [(record.path, str(error), "image")]
        return record, list(_broken_masks(dataset, record))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for record, problems in pool.map(check, dataset.records):
            for where, what, lost in problems:
                dataset.note(where, what, lost)
            yield record


def contact_sheet(
    dataset: Dataset, count: int = 24, columns: int = 6, side: int = 320
) -> np.ndarray:
    """One picture, (H, W, 3) uint8 RGB, of annotated images spread over the dataset.

    Images with doubtful objects come first, then others with objects; below each stand its name,
    size and number of objects. Objects of which a problem says that they were mended, or that
    their mask is broken, have a red frame and a question mark before their class.

    Args:
        dataset: Images of it that cannot be used are passed over.
        count: At most so many images.
        columns: Images a row.
        side: The longer side of each, in pixels.

    Raises:
        ValueError: No image can be used.
    """
    broken = {problem.where for problem in dataset.problems if problem.lost == "image"}
    usable = [i for i, record in enumerate(dataset.records) if record.path not in broken]
    doubtful = _Doubts(dataset)
    marked = [i for i in usable if any(map(doubtful, dataset.records[i].instances))]
    filled = [i for i in usable if dataset.records[i].instances]
    chosen = list(dict.fromkeys([*_spread(marked, count), *_spread(filled, count), *usable]))
    tiles = [_tile(dataset, index, side, doubtful) for index in chosen[:count]]
    if not tiles:
        raise ValueError(f"{dataset.source}: no image can be used.\n{dataset.problem_report()}")
    return np.pad(grid(tiles, columns), ((12, 12), (12, 12), (0, 0)), constant_values=255)


def _broken_masks(dataset, record):
    for index, why in broken_masks(record).items():
        where = f"{dataset.source}: annotation {record.instances[index].annotation_id}"
        yield where, f"{why}; it is left out", "annotation"


class _Doubts:
    """Whether an instance is one of those that the problems of a dataset are about."""

    def __init__(self, dataset: Dataset):
        self._source = dataset.source
        self._wheres = {problem.where for problem in dataset.problems}
        self._ids = {problem.annotation_id for problem in dataset.problems} - {None}

    def __call__(self, instance: Instance) -> bool:
        known = instance.annotation_id
        where = f"{self._source}: annotation {known}"
        return where in self._wheres or (isinstance(known, int | str) and known in self._ids)


def _spread(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of the values, in even steps from the first to the last."""
    places = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)
    return [values[place] for place in np.unique(places)] if len(values) else []


def _tile(dataset, index, side, doubtful):
    """An annotated image, its longer side `side` pixels, with its caption below."""
    record = dataset.records[index]
    scale = side / max(record.height, record.width)
    shape = max(1, round(record.height * scale)), max(1, round(record.width * scale))
    instances = [instance for instance in record.instances if not instance.crowd]
    doubts = [doubtful(instance) for instance in instances]
    image = resize_image(record.read_to_show(), shape)
    boxes = np.array([i.box for i in instances], np.float32).reshape(-1, 4) * scale
    masks = [_small_mask(instance, record, shape) for instance in instances]
    # The first are drawn on top: small ones, which large ones would hide.
    order = np.argsort([instance.area for instance in instances], kind="stable")
    drawn = draw_instances(
        image,
        boxes[order],
        [instances[i].class_id for i in order],
        [masks[i] for i in order] or None,
        [f"{'? ' * doubts[i]}{dataset.class_names[instances[i].class_id]}" for i in order],
    )
    for index in np.flatnonzero(doubts):
        left, top, right, bottom = boxes[index].round().astype(int).tolist()
        cv2.rectangle(drawn, (left, top), (right - 1, bottom - 1), DOUBT, 2)
    tile = np.full((shape[0] + CAPTION, side + GAP, 3), 255, np.uint8)
    tile[: shape[0], : shape[1]] = drawn
    name = os.path.basename(record.path)
    name = name if len(name) <= 24 else f"{name[:10]}...{name[-11:]}"
    number = f"{len(instances)} object{'s' * (len(instances) != 1)}"
    number += f", {sum(doubts)} doubtful" * any(doubts)
    caption = f"{name}  {record.width} x {record.height}  {number}"
    cv2.putText(tile, caption, (1, shape[0] + 16), FONT, 0.4, INK, 1, cv2.LINE_AA)
    return tile


def _small_mask(instance, record, shape):
    """The mask of an object at the size of its tile, its box where it has none that is whole."""
    scale = shape[0] / record.height
    segmentation = instance.segmentation
    if isinstance(segmentation, dict):
        try:
            mask = decode_rle(segmentation, record.height, record.width)
            return cv2.resize(mask * 255, shape[::-1], interpolation=cv2.INTER_AREA) > 127
        except ValueError:
            segmentation = None
    if segmentation is None:
        segmentation = [rectangle_polygon(*instance.box)]
    scaled = [(np.array(polygon) * scale).tolist() for polygon in segmentation]
    return decode_mask(scaled, *shape) > 0
