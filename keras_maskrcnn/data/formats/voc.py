"""Datasets in Pascal VOC's format for instance segmentation.

The pixels of `SegmentationObject/*.png` number the objects of an image, those of
`SegmentationClass/*.png` their classes: 0 is background, 255 void, the border that VOC draws around
objects and that belongs to none. A mask is the pixels of one number; the box goes from the left
edge of its first pixel to the right edge of its last, as ours do (VOC's XML boxes are not used).
"""

import os
import pathlib
from collections import Counter
from collections.abc import Sequence

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

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
VOID = 255
MOST_OBJECTS = 254


def read_voc(
    root: str | os.PathLike, split: str | None = None, class_names: Sequence[str] | None = None
) -> Contents:
    """What a folder laid out as Pascal VOC's holds.

    Args:
        root: The folder of `JPEGImages`, `SegmentationObject` and `SegmentationClass`.
        split: The file `ImageSets/Segmentation/<split>.txt` says which images; all that have a PNG
            in `SegmentationObject` if None.
        class_names: The classes to keep, in the order of their class ids; all if None. Pixel
            value 1, 2, ... is the first, second, ... line of `<root>/class_names.txt` (lines like
            `_background_` do not count), or of VOC's twenty classes where there is no such file.

    Raises:
        FileNotFoundError: A folder or the split is missing.
        ValueError: The split is empty, or there is no class of that name.
    """
    root = pathlib.Path(root)
    images, objects = images_by_stem(root / "JPEGImages"), root / "SegmentationObject"
    names = list(images_by_stem(objects)) if split is None else _split(root, split)
    if not names:
        raise ValueError(f"{objects} holds no PNG.")
    known = _known_classes(root)
    class_names = known if class_names is None else tuple(class_names)
    unknown = [name for name in class_names if name not in known]
    if unknown:
        raise ValueError(f"{root}: no class {unknown[0]!r}; there are {', '.join(known)}.")
    class_ids = [class_names.index(name) if name in class_names else None for name in known]

    def read(name):
        return _read(root, name, images, class_ids)

    problems: list[Problem] = []
    records = []
    for number, (found, noted) in enumerate(in_threads(read, names), 1):
        problems += noted
        if found is not None:
            path, size, instances = found
            records.append(Record(number, path, *size, tuple(instances)))
    return Contents(records, class_names, problems)


def write_voc(dataset, folder: pathlib.Path, link: bool) -> dict[str, int]:
    """Writes the folders, `class_names.txt` and the split `all`; returns what they cannot hold.

    Raises:
        ValueError: There are more classes than PNGs can number.
    """
    if len(dataset.class_names) > MOST_OBJECTS:
        raise ValueError(
            f"VOC's PNGs number at most {MOST_OBJECTS} classes, got {len(dataset.class_names)}."
        )
    losses: Counter = Counter()
    stems = []
    for part in ("SegmentationObject", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for record, name in place_images(dataset.records, folder / "JPEGImages", link):
        numbers, class_ids = number_pixels(record, MOST_OBJECTS, losses)
        values = np.array([0, *(class_id + 1 for class_id in class_ids)], np.uint8)
        stems.append(pathlib.PurePath(name).stem)
        _write_png(folder / "SegmentationObject" / f"{stems[-1]}.png", numbers.astype(np.uint8))
        _write_png(folder / "SegmentationClass" / f"{stems[-1]}.png", values[numbers])
    _write_lines(folder / "ImageSets/Segmentation/all.txt", stems)
    _write_lines(folder / "class_names.txt", ["_background_", *dataset.class_names])
    return +losses


def voc_palette() -> list[int]:
    """VOC's colours `[red, green, blue, red, ...]` of the values 0..255."""
    values = np.arange(256)
    colours = np.zeros((256, 3), int)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((values >> channel) & 1) << (7 - bit)
        values = values >> 3
    return colours.ravel().tolist()


def _split(root, split):
    path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    names = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line]
    if not names:
        raise ValueError(f"{path} names no image.")
    return names


def _known_classes(root):
    """The classes of the pixel values 1, 2, ..."""
    path = root / "class_names.txt"
    if not path.is_file():
        return VOC_CLASSES
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return tuple(line for line in lines if line and line.strip("_") not in ("background", "ignore"))


def _read(root, name, images, class_ids):
    """Path, size and instances of an image, or None; and its problems."""
    path = root / "SegmentationObject" / f"{name}.png"
    try:
        if name not in images:
            raise ValueError(f"{root / 'JPEGImages'} holds no image {name}")
        numbers = read_numbers(path)
        classes = read_numbers(root / "SegmentationClass" / f"{name}.png")
        if numbers.shape != classes.shape:
            raise ValueError(f"it is {numbers.shape}, SegmentationClass/{name}.png {classes.shape}")
    except (ValueError, OSError) as error:
        return None, [Problem(str(path), f"{error}; the image is left out", "image")]
    instances, problems = [], []
    for number in objects_of(numbers):
        if number == VOID and numbers.dtype == np.uint8:
            continue
        mask = numbers == number
        try:
            class_id = _class_id(classes[mask], class_ids)
        except ValueError as error:
            where = f"{path}: object {number}"
            problems.append(Problem(where, f"{error}; it is left out", "annotation"))
            continue
        if class_id is not None:
            instances.append(instance_of(mask, class_id, f"{name} object {number}"))
    return (images[name], numbers.shape, instances), problems


def _class_id(values, class_ids):
    """That of the most frequent class of an object's pixels; None if it is not to be kept."""
    counts = np.bincount(values)
    counts[0] = 0
    counts[VOID:] = 0
    value = int(counts.argmax())
    if not counts[value]:
        raise ValueError("its pixels have no class in SegmentationClass")
    if value > len(class_ids):
        raise ValueError(f"its class is {value}, but there are {len(class_ids)} classes")
    return class_ids[value - 1]


def _write_png(path, values):
    picture = PIL.Image.fromarray(values)
    picture.putpalette(voc_palette())
    picture.save(path)


def _write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
