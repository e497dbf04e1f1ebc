"""What Pascal VOC's and plain mask PNGs share: objects as numbers of pixels, and image files."""

import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from pycocotools import mask as coco_mask

from keras_maskrcnn.data.records import Instance
from keras_maskrcnn.data.tracing import encode_mask

Item, Result = TypeVar("Item"), TypeVar("Result")


def images_by_stem(folder: pathlib.Path) -> dict[str, str]:
    """The path of each file of a folder, by its name without suffix, sorted.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    return {pathlib.PurePath(name).stem: os.path.join(folder, name) for name in names}


def in_threads(read: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`read` of each item, in their order; PNGs are decoded outside of Python's lock."""
    with ThreadPoolExecutor() as pool:
        yield from pool.map(read, items)


def objects_of(numbers: np.ndarray) -> list[int]:
    """The numbers above 0 in an image of them, ascending."""
    return [int(number) for number in np.flatnonzero(np.bincount(numbers.ravel())) if number]


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
