"""Datasets of plain mask PNGs, as PennFudan's: the value of a pixel is the number of its object.

The masks know one class. A mask is the pixels of one value; its box goes from the left edge of its
first pixel to the right edge of its last, as ours do.
"""

import os
import pathlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import PIL.Image

from keras_maskrcnn.data.formats.shared.finding import files_by_stem, is_picture, only_file
from keras_maskrcnn.data.formats.shared.numbered import (
    check_size,
    in_threads,
    instance_of,
    number_pixels,
    objects_of,
    read_mask,
)
from keras_maskrcnn.data.formats.shared.placing import place_images
from keras_maskrcnn.data.images import image_size
from keras_maskrcnn.data.records import AnnotatedImages, Contents, Problem, Record

NAME = "mask-png"
LAYOUT = "a folder of images/ and masks/, or one of masks where the images are named"
MOST_OBJECTS = 2**16 - 1
ONLY_CLASS = "object"


def recognise(path: pathlib.Path, images: pathlib.Path | None) -> pathlib.Path | None:
    """The folder `masks` in a folder; where there are `images`, any folder."""
    masks = path / "masks" if images is None else path
    return masks if masks.is_dir() else None


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
) -> Contents:
    """What images and the PNGs that belong to them hold.

    To `images/a.jpg` belongs `masks/a.png` or `masks/a_mask.png`, 8 or 16 bits, 0 where there is no
    object; or a folder `masks/a/` of PNGs, of each of which the pixels above 0 are one object,
    which may overlap. An image without any is left out and listed.

    Args:
        path: The folder of the PNGs.
        images: The folder of the images; if None, `images/` beside it.
        class_names: What the objects are called, one name; "object" if None.

    Raises:
        FileNotFoundError: A folder is missing.
        ValueError: There is no image, or not one class.
    """
    masks = pathlib.Path(path)
    folder = masks.parent / "images" if images is None else pathlib.Path(images)
    class_names = (ONLY_CLASS,) if class_names is None else tuple(class_names)
    if len(class_names) != 1:
        raise ValueError(
            f"{masks}: mask PNGs know one class, but {len(class_names)} are expected: "
            f"{', '.join(class_names)}."
        )
    pictures, pngs = files_by_stem(folder), files_by_stem(masks)
    if not pictures:
        raise ValueError(f"{folder} holds no image.")

    def read_objects(stem):
        try:
            picture = only_file(pictures[stem])
            return _objects(_mask_path(stem, masks, pngs), stem, picture)
        except (ValueError, OSError) as error:
            return error

    problems: list[Problem] = []
    records = []
    pairs = zip(pictures.items(), in_threads(read_objects, pictures), strict=True)
    for number, ((_, paths), found) in enumerate(pairs, 1):
        if isinstance(found, Exception):
            what = f"{found}; the image is left out"
            problems += [Problem(path, what, "image") for path in paths]
        else:
            records.append(Record(number, paths[0], *found))
    return Contents(records, class_names, problems)


def write(dataset: AnnotatedImages, folder: pathlib.Path, link_images: bool) -> dict[str, int]:
    """Writes `images/` and `masks/`, and returns what they cannot hold."""
    losses: Counter = Counter()
    masks = folder / "masks"
    masks.mkdir(parents=True, exist_ok=True)
    for record, name in place_images(dataset.records, folder / "images", link_images):
        numbers, class_ids = number_pixels(record, MOST_OBJECTS, losses)
        if len(dataset.class_names) > 1:
            losses["objects that lose their class"] += len(class_ids)
        values = numbers.astype(np.uint8) if len(class_ids) < 256 else numbers
        PIL.Image.fromarray(values).save((masks / name).with_suffix(".png"))
    return +losses


def _mask_path(stem, masks, pngs):
    """The PNG of the image of a stem, or the folder of its PNGs."""
    files = pngs.get(stem) or pngs.get(f"{stem}_mask")
    if files:
        return only_file(files)
    if (masks / stem).is_dir():
        return os.path.join(masks, stem)
    raise ValueError(f"{masks} holds no {stem}.png")


def _objects(path, stem, picture):
    """Height, width and instances of a mask PNG or of a folder of them."""
    if not os.path.isdir(path):
        check_size(path, picture)
        numbers = read_mask(path)
        instances = [
            instance_of(numbers == number, 0, f"{stem} object {number}")
            for number in objects_of(numbers)
        ]
        return (*numbers.shape, tuple(instances))
    names = sorted(name for name in os.listdir(path) if is_picture(name))
    if not names:
        raise ValueError(f"{path} holds no PNG")
    masks = {}
    for name in names:
        check_size(os.path.join(path, name), picture)
        masks[name] = read_mask(os.path.join(path, name)) > 0
    instances = [instance_of(mask, 0, f"{stem}/{n}") for n, mask in masks.items() if mask.any()]
    return (*image_size(picture), tuple(instances))
