"""What the writers of every format share: where the images go, and PNGs that number objects."""

import os
import pathlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.records import Instance, Record


def place_images(
    records: Sequence[Record], folder: pathlib.Path, link: bool
) -> Iterator[tuple[Record, str]]:
    """Brings the image files into one folder, and yields each record with its file's name there.

    No two names have the same stem, so that a file of another suffix can stand for each.

    Args:
        records: Whose images they are.
        folder: Made if it is missing.
        link: Whether symbolic links are made instead of copies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for record in records:
        path = pathlib.Path(record.path)
        stem, number = path.stem, 1
        while stem in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem)
        name = stem + path.suffix
        if link:
            os.symlink(path.resolve(), folder / name)
        else:
            shutil.copyfile(path, folder / name)
        yield record, name


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
    for instance in record.instances:
        if instance.crowd:
            losses["crowds, left out"] += 1
        elif instance.segmentation is None:
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


def full_mask(instance: Instance, record: Record, losses: Counter) -> np.ndarray | None:
    """The mask (H, W) bool of an object; None, counted, if it is broken or empty."""
    try:
        mask = decode_mask(instance.segmentation, record.height, record.width).astype(bool)
    except ValueError:
        losses["objects whose mask cannot be decoded, left out"] += 1
        return None
    if not mask.any():
        losses["objects whose mask is empty, left out"] += 1
        return None
    return mask
