"""What Pascal VOC's and plain mask PNGs share: pixels that number objects, and image files."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from pycocotools import mask as coco_mask

from keras_maskrcnn.data.formats.shared.placing import full_mask, without_crowds
from keras_maskrcnn.data.images import JPEG, image_size, read_numbers
from keras_maskrcnn.data.masks import encode_mask
from keras_maskrcnn.data.records import Instance, Record

Item, Result = TypeVar("Item"), TypeVar("Result")


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """The numbers (H, W) of the objects or classes in the pixels of a file; see `read_numbers`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no picture of numbers, or one in which compression has changed them.
    """
    with open(path, "rb") as file:
        start = file.read(2)
    if start == JPEG:
        raise ValueError(
            f"{os.fspath(path)}: a mask saved as JPEG, whose compression makes up numbers at the "
            "edges of the objects: save masks as PNG"
        )
    return read_numbers(path)


def check_size(mask: str | os.PathLike, picture: str | os.PathLike) -> None:
    """Refuses a mask that is not of the size of its picture, by the headers of both.

    Before its pixels are read: those of a broken one can be any number.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another size, or one of them is no picture.
    """
    (height, width), expected = image_size(mask), image_size(picture)
    if (height, width) != expected:
        raise ValueError(
            f"{os.fspath(mask)} is {width}x{height}, but {os.fspath(picture)} is "
            f"{expected[1]}x{expected[0]}"
        )


def in_threads(read: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`read` of each item, in their order; PNGs are decoded outside of Python's lock."""
    with ThreadPoolExecutor() as pool:
        yield from pool.map(read, items)


def objects_of(numbers: np.ndarray) -> list[int]:
    """The numbers above 0 in an image of them, ascending."""
    return [int(number) for number in np.unique(numbers) if number > 0]


def instance_of(mask: np.ndarray, class_id: int, name: str) -> Instance:
    """A mask (H, W) that is not empty as an `Instance`; its box ends behind its last pixel."""
    rle = encode_mask(mask)
    x, y, width, height = coco_mask.toBbox(rle).tolist()
    return Instance(
        box=(x, y, x + width, y + height),
        class_id=class_id,
        segmentation=rle,
        area=float(coco_mask.area(rle)),
        annotation_id=name,
    )


def number_pixels(record: Record, most: int, losses: Counter) -> tuple[np.ndarray, list[int]]:
    """An image of an object's number at each of its pixels, and the class ids of the objects.

    Where objects overlap, the smaller one is on top.

    Args:
        record: Whose objects they are.
        most: The highest number that there is room for.
        losses: Counts what such an image cannot hold.

    Returns:
        (H, W) uint16, 0 where there is no object, and the class id of object 1, of object 2, ...
    """
    masks, class_ids = [], []
    for _, instance in without_crowds(record, losses):
        if instance.segmentation is None:
            losses["objects without a mask, left out"] += 1
        elif len(masks) == most:
            losses[f"objects beyond {most} of an image, left out"] += 1
        elif (mask := full_mask(instance, record, losses)) is not None:
            masks.append(mask)
            class_ids.append(instance.class_id)
    areas = np.array([mask.sum() for mask in masks], int)
    numbers = np.zeros((record.height, record.width), np.uint16)
    for index in np.argsort(-areas, kind="stable"):
        numbers[masks[index]] = index + 1
    left = np.bincount(numbers.ravel(), minlength=len(masks) + 1)[1:]
    losses["objects wholly under others, left out"] += int(np.sum(left == 0))
    losses["objects that others hide in part"] += int(np.sum((left > 0) & (left < areas)))
    return numbers, class_ids
