"""Datasets in Pascal VOC's format for instance segmentation.

The pixels of `SegmentationObject/*.png` number the objects of an image, those of
`SegmentationClass/*.png` their classes: 0 is background, 255 void, the border that VOC draws around
objects and that belongs to none. A mask is the pixels of one number; the box goes from the left
edge of its first pixel to the right edge of its last, as ours do (VOC's XML boxes are not used).
CVAT's "Segmentation mask 1.1" is the same with colours for numbers, and a `labelmap.txt` that says
which class has which.
"""

import os
import pathlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import PIL.Image

from keras_maskrcnn.data.formats.shared.finding import files_by_stem, only_file
from keras_maskrcnn.data.formats.shared.labelmap import (
    LabelMap,
    class_values,
    object_numbers,
    read_labelmap,
)
from keras_maskrcnn.data.formats.shared.numbered import (
    check_size,
    in_threads,
    instance_of,
    number_pixels,
    objects_of,
    read_mask,
)
from keras_maskrcnn.data.formats.shared.placing import check_class_names, place_images
from keras_maskrcnn.data.formats.shared.text_files import read_text
from keras_maskrcnn.data.records import AnnotatedImages, Contents, Problem, Record

NAME = "voc"
SPLITS = ("ImageSets", "Segmentation")
LAYOUT = (
    f"a folder of JPEGImages and SegmentationObject, or a split in it ({'/'.join(SPLITS)}/*.txt)"
)

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
MASKS = ("SegmentationObject", "SegmentationClass")
VOID = 255
MOST_OBJECTS = 254


def recognise(path: pathlib.Path, images: pathlib.Path | None) -> pathlib.Path | None:
    """A folder of `SegmentationObject`, or a split."""
    return path if _is_split(path) or (path / "SegmentationObject").is_dir() else None


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
) -> Contents:
    """What a folder laid out as Pascal VOC's holds.

    Args:
        path: The folder of `JPEGImages`, `SegmentationObject` and `SegmentationClass`; or the file
            `ImageSets/Segmentation/<split>.txt` in it, which says which images. Else they are all
            that have a PNG in `SegmentationObject`.
        images: The folder of the images; `JPEGImages` if None.
        class_names: The classes to keep, in the order of their class ids; all if None. Pixel
            value 1, 2, ... is the first, second, ... line of `<root>/class_names.txt` (`__ignore__`
            and `_background_` at its beginning do not count), or of VOC's twenty classes where
            there is no such file. With a `labelmap.txt` instead, its colours say the class.

    Raises:
        FileNotFoundError: A folder or the split is missing.
        ValueError: The split is empty, or there is no class of that name.
    """
    path = pathlib.Path(path)
    root = path.parents[2] if _is_split(path) else path
    folder = root / "JPEGImages" if images is None else pathlib.Path(images)
    pictures = files_by_stem(folder)
    objects = root / "SegmentationObject"
    names = _split(path) if _is_split(path) else list(files_by_stem(objects))
    if not names:
        raise ValueError(f"{objects} holds no PNG.")
    labels = _labelmap(root)
    known = _known_classes(root) if labels is None else labels.names
    class_names = known if class_names is None else tuple(class_names)
    unknown = [name for name in class_names if name not in known]
    if unknown:
        raise ValueError(f"{root}: no class {unknown[0]!r}; there are {', '.join(known)}.")
    class_ids = [class_names.index(name) if name in class_names else None for name in known]

    def read_objects(name):
        try:
            if name not in pictures:
                raise ValueError(f"{folder} holds no image {name}")
            picture = only_file(pictures[name])
            for part in MASKS:
                check_size(root / part / f"{name}.png", picture)
            return picture, *_objects(root, name, class_ids, labels)
        except (ValueError, OSError) as error:
            return error

    problems: list[Problem] = []
    records = []
    pairs = zip(names, in_threads(read_objects, names), strict=True)
    for number, (name, found) in enumerate(pairs, 1):
        if isinstance(found, Exception):
            where = str(objects / f"{name}.png")
            problems.append(Problem(where, f"{found}; the image is left out", "image"))
        else:
            picture, size, instances, noted = found
            problems += noted
            records.append(Record(number, picture, *size, instances))
    return Contents(records, class_names, problems)


def write(dataset: AnnotatedImages, folder: pathlib.Path, link_images: bool) -> dict[str, int]:
    """Writes the folders, `class_names.txt` and the split `all`; returns what they cannot hold.

    Raises:
        ValueError: There are more classes than PNGs can number, or one has a name that no line
            can hold.
    """
    check_class_names(dataset.class_names, "VOC's class_names.txt")
    if len(dataset.class_names) > MOST_OBJECTS:
        raise ValueError(
            f"VOC's PNGs number at most {MOST_OBJECTS} classes, got {len(dataset.class_names)}."
        )
    losses: Counter = Counter()
    stems = []
    splits = folder.joinpath(*SPLITS)
    for part in (folder / "SegmentationObject", folder / "SegmentationClass", splits):
        part.mkdir(parents=True, exist_ok=True)
    for record, name in place_images(dataset.records, folder / "JPEGImages", link_images):
        numbers, class_ids = number_pixels(record, MOST_OBJECTS, losses)
        values = np.array([0, *(class_id + 1 for class_id in class_ids)], np.uint8)
        stems.append(pathlib.PurePath(name).stem)
        _write_png(folder / "SegmentationObject" / f"{stems[-1]}.png", numbers.astype(np.uint8))
        _write_png(folder / "SegmentationClass" / f"{stems[-1]}.png", values[numbers])
    _write_lines(splits / "all.txt", stems)
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


def _is_split(path):
    return path.suffix == ".txt" and path.parts[-3:-1] == SPLITS


def _split(path):
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{path} names no image.")
    return names


def _known_classes(root):
    """The classes of the pixel values 1, 2, ..."""
    path = root / "class_names.txt"
    if not path.is_file():
        return VOC_CLASSES
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    # Only at the beginning: further down they are classes, whose pixels have numbers of their own.
    for word in ("ignore", "background"):
        if lines and lines[0].strip("_") == word:
            del lines[0]
    return tuple(lines)


def _labelmap(root) -> LabelMap | None:
    """The classes of colours, where they have colours."""
    path = root / "labelmap.txt"
    if (root / "class_names.txt").is_file() or not path.is_file():
        return None
    return read_labelmap(path, voc_palette())


def _pixels(root, name, labels):
    """The numbers of objects and of classes in the PNGs of an image, and their problems."""
    path = root / "SegmentationObject" / f"{name}.png"
    class_path = root / "SegmentationClass" / f"{name}.png"
    if labels is None:
        return read_mask(path), read_mask(class_path), []
    classes, unknown = class_values(class_path, labels)
    if not unknown:
        return object_numbers(path), classes, []
    what = f"no class of labelmap.txt has the colour {unknown[0]}"
    others = f" nor {len(unknown) - 1} others" if len(unknown) > 1 else ""
    problem = Problem(str(class_path), f"{what}{others}; their pixels have no class")
    return object_numbers(path), classes, [problem]


def _objects(root, name, class_ids, labels):
    """Height and width of an image, the instances of its PNGs, and their problems."""
    path = root / "SegmentationObject" / f"{name}.png"
    numbers, classes, problems = _pixels(root, name, labels)
    instances = []
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
    return numbers.shape, tuple(instances), problems


def _class_id(values, class_ids):
    """That of the most frequent class of an object's pixels; None if it is not to be kept."""
    values, counts = np.unique(values[(values > 0) & (values < VOID)], return_counts=True)
    if not counts.size:
        raise ValueError("its pixels have no class in SegmentationClass")
    value = int(values[counts.argmax()])
    if value > len(class_ids):
        raise ValueError(f"its class is {value}, but there are {len(class_ids)} classes")
    return class_ids[value - 1]


def _write_png(path, values):
    picture = PIL.Image.fromarray(values)
    picture.putpalette(voc_palette())
    picture.save(path)


def _write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
