"""Datasets of plain mask PNGs, as PennFudan's: the value of a pixel is the number of its object.

The masks know one class. A mask is the pixels of one value; its box goes from the left edge of its
first pixel to the right edge of its last, as ours do.
"""

import os
import pathlib
from collections import Counter

import numpy as np
import PIL.Image

from keras_maskrcnn.data.formats.shared.numbered import (
    images_by_stem,
    in_threads,
    instance_of,
    objects_of,
)
from keras_maskrcnn.data.formats.shared.placing import number_pixels, place_images
from keras_maskrcnn.data.images import read_numbers
from keras_maskrcnn.data.records import Contents, Problem, Record

MOST_OBJECTS = 2**16 - 1


def read_mask_pngs(
    images: str | os.PathLike, masks: str | os.PathLike, class_name: str = "object"
) -> Contents:
    """What images and the PNGs that belong to them hold.

    To `images/a.jpg` belongs `masks/a.png` or `masks/a_mask.png`, 8 or 16 bits, 0 where there is no
    object; or a folder `masks/a/` of PNGs, of each of which the pixels above 0 are one object,
    which may overlap. An image without any is left out and listed.

    Args:
        images: Folder of the images.
        masks: Folder of the PNGs.
        class_name: What the objects are called.

    Raises:
        FileNotFoundError: A folder is missing.
        ValueError: There is no image.
    """
    pictures, pngs = images_by_stem(pathlib.Path(images)), images_by_stem(pathlib.Path(masks))
    if not pictures:
        raise ValueError(f"{os.fspath(images)} holds no image.")

    def read(stem):
        try:
            path = pngs.get(stem) or pngs.get(f"{stem}_mask")
            if path is None:
                raise ValueError(f"{os.fspath(masks)} holds no {stem}.png")
            return _objects(path, stem)
        except (ValueError, OSError) as error:
            return error

    problems: list[Problem] = []
    records = []
    for number, (stem, found) in enumerate(
        zip(pictures, in_threads(read, pictures), strict=True), 1
    ):
        path = pictures[stem]
        if isinstance(found, Exception):
            problems.append(Problem(path, f"{found}; the image is left out", "image"))
        else:
            records.append(Record(number, path, *found))
    return Contents(records, (class_name,), problems)


def write_mask_pngs(dataset, folder: pathlib.Path, link: bool) -> dict[str, int]:
    """Writes `images/` and `masks/`, and returns what they cannot hold."""
    losses: Counter = Counter()
    masks = folder / "masks"
    masks.mkdir(parents=True, exist_ok=True)
    for record, name in place_images(dataset.records, folder / "images", link):
        numbers, class_ids = number_pixels(record, MOST_OBJECTS, losses)
        if len(dataset.class_names) > 1:
            losses["objects that lose their class"] += len(class_ids)
        values = numbers.astype(np.uint8) if len(class_ids) < 256 else numbers
        PIL.Image.fromarray(values).save((masks / name).with_suffix(".png"))
    return +losses


def _objects(path, stem):
    """Height, width and instances of a mask PNG or of a folder of them."""
    if not os.path.isdir(path):
        numbers = read_numbers(path)
        instances = [
            instance_of(numbers == number, 0, f"{stem} object {number}")
            for number in objects_of(numbers)
        ]
        return (*numbers.shape, tuple(instances))
    masks = {name: read_numbers(os.path.join(path, name)) > 0 for name in sorted(os.listdir(path))}
    shapes = {mask.shape for mask in masks.values()}
    if len(shapes) != 1:
        raise ValueError(f"{path} must hold PNGs of one size, found {sorted(shapes)}")
    instances = [instance_of(mask, 0, f"{stem}/{n}") for n, mask in masks.items() if mask.any()]
    return (*shapes.pop(), tuple(instances))
