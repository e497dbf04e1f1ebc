"""Datasets of Ultralytics' YOLO for segmentation: `data.yaml`, and a text file an image.

As "Instance Segmentation Datasets" of its documentation and its loader have it: a row is an object,
`class x1 y1 x2 y2 ...`, one polygon in shares of the image's width and height. The labels of
`images/a.jpg` are `labels/a.txt`. An object of several parts, or with a hole, is a polygon with
cuts from one outline to the next.
"""

import os
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import yaml

from keras_maskrcnn.data.formats.shared.instances import make_instance, mender
from keras_maskrcnn.data.formats.shared.placing import (
    check_class_names,
    full_mask,
    place_images,
    without_crowds,
)
from keras_maskrcnn.data.formats.shared.text_files import read_text
from keras_maskrcnn.data.formats.shared.yolo_files import (
    FILE_NAME,
    describing_file,
    find_descriptions,
    is_description,
    label_path,
    list_images,
    read_description,
)
from keras_maskrcnn.data.images import image_size
from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.outlines import join_outlines, rectangle_polygon, trace_outlines
from keras_maskrcnn.data.records import AnnotatedImages, Contents, Problem, Record

NAME = "yolo"
LAYOUT = f"a {FILE_NAME} of names and train or val, its folder, or a folder of images it names"
DECIMALS = 6  # of coordinates in pixels
TOLERANCE = 0.01  # by which Ultralytics lets a coordinate leave 0..1
NO_LABELS = ("classes.txt",)  # that annotators put among the label files


def recognise(path: pathlib.Path, images: pathlib.Path | None) -> pathlib.Path | None:
    """A `data.yaml`, the one in a folder, or the folder or list of images of one of its splits."""
    if path.is_file() and path.suffix != ".txt":
        return path if is_description(path) else None
    inside = find_descriptions(path) if path.is_dir() else []
    if len(inside) == 1:
        return inside[0]
    return path if inside or describing_file(path) else None


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
) -> Contents:
    """What the label files of a split hold.

    A row of a class and four numbers is the box of a detection set: centre, width and height. It
    becomes an object without a mask, which is said. An image that has no label file is all
    background, which is said too.

    Args:
        path: A `data.yaml` of one split, or of several that are the same; or the folder of images,
            or the list of them (.txt), of one that a `data.yaml` above it names.
        images: The folder of the images if they lie elsewhere than the labels say.
        class_names: The classes to keep, in the order of their class ids; all of them if None.

    Raises:
        FileNotFoundError: There is no `data.yaml`, no folder of images, or no label file.
        ValueError: It is broken; it has several splits, which the message names; or there is no
            class of that name.
    """
    path = pathlib.Path(path)
    file = path if is_description(path) else describing_file(path)
    if file is None:
        several = ", ".join(map(str, find_descriptions(path)))
        what = f"open one of {several}" if several else f"no {FILE_NAME} above names it"
        raise FileNotFoundError(f"{path}: it is no split of a dataset: {what}.")
    described = read_description(file)
    problems = list(described.problems)
    entries = _only_split(described, problems) if file == path else [_split_entry(path, described)]
    class_names, class_ids = _classes(described, class_names, problems)
    pairs = [pair for entry in entries for pair in _pairs(entry, images)]
    if not any(label.is_file() for _, label in pairs):
        where = pairs[0][1] if pairs else entries[0]
        raise FileNotFoundError(f"{file}: there is no label file, such as {where}.")
    records, boxes = [], []
    for number, (image, label) in enumerate(pairs, 1):
        try:
            if not image.is_file():
                raise ValueError("there is no image file")
            size = image_size(image)
            instances = _instances(label, size, class_ids, boxes, problems)
            records.append(Record(number, os.fspath(image), *size, instances))
        except (ValueError, OSError) as error:
            problems.append(Problem(str(image), f"{error}; the image is left out", "image"))
    problems += _doubtful(file, entries, pairs, boxes)
    return Contents(records, class_names, problems)


def write(dataset: AnnotatedImages, folder: pathlib.Path, link_images: bool) -> dict[str, int]:
    """Writes `data.yaml`, `images/` and `labels/`, and returns what they cannot hold.

    Raises:
        ValueError: A class has a name that is not read again.
    """
    check_class_names(dataset.class_names, "data.yaml")
    losses: Counter = Counter()
    labels = folder / "labels"
    labels.mkdir(parents=True, exist_ok=True)
    for record, name in place_images(dataset.records, folder / "images", link_images):
        rows = []
        for _, instance in without_crowds(record, losses):
            polygon = _polygon(instance, record, losses)
            if polygon is not None:
                rows.append(f"{instance.class_id} {_shares(polygon, record, losses)}\n")
        (labels / name).with_suffix(".txt").write_text("".join(rows), encoding="utf-8")
    # Both splits are needed by Ultralytics; they are the same until the images are divided.
    content = {"train": "images", "val": "images", "names": dict(enumerate(dataset.class_names))}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (folder / FILE_NAME).write_text(text, encoding="utf-8")
    return +losses


def _only_split(described, problems):
    """The entries of the one split that there is; the others are missing or the same."""
    found = {
        name: entries
        for name, entries in described.splits.items()
        if all(entry.exists() for entry in entries)
    }
    lines = "".join(
        f"\n  {name}: {', '.join(map(str, entries))}" for name, entries in described.splits.items()
    )
    if not found:
        raise FileNotFoundError(f"{described.file}: none of its splits is there; mend:{lines}")
    if len({tuple(entries) for entries in found.values()}) > 1:
        raise ValueError(
            f"{described.file} has several splits: open one by its images, or leave only that in "
            f"the file:{lines}"
        )
    for name in described.splits.keys() - found.keys():
        missing = ", ".join(map(str, described.splits[name]))
        problems.append(Problem(str(described.file), f"{name}: there is no {missing}"))
    return next(iter(found.values()))


def _split_entry(path, described):
    """The folder or list of images that is meant by `path`, or by `train` for `train/images`."""
    path = pathlib.Path(os.path.abspath(path))
    named = {entry for entries in described.splits.values() for entry in entries}
    return path if path in named else path / "images"


def _classes(described, class_names, problems):
    """The names of the classes to keep, and the class id of each number, None if not kept."""
    known: dict[str, int] = {}
    for number, name in described.names.items():
        if known.setdefault(name, number) != number:
            what = f"names {known[name]} and {number} are both {name!r}; they are read as one class"
            problems.append(Problem(str(described.file), what))
    class_names = tuple(known) if class_names is None else tuple(class_names)
    unknown = [name for name in class_names if name not in known]
    if unknown:
        raise ValueError(
            f"{described.file}: no class {unknown[0]!r}; there are {', '.join(known)}."
        )
    ids = {name: i for i, name in enumerate(class_names)}
    return class_names, {number: ids.get(name) for number, name in described.names.items()}


def _pairs(entry, images) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """The images of a folder or list, each with its label file; the images perhaps elsewhere."""
    if images is None:
        for image in list_images(entry):
            yield image, _label(image)
    elif entry.suffix == ".txt":
        for image in list_images(entry):
            yield pathlib.Path(images, image.name), _label(image)
    else:
        for image in list_images(pathlib.Path(images)):
            yield image, _label(entry / image.relative_to(images))


def _label(image):
    """The label file of an image; beside it, where there is none in `labels/`."""
    beside = image.with_suffix(".txt")
    return beside if beside.is_file() and not label_path(image).is_file() else label_path(image)


def _instances(label, size, class_ids, boxes, problems):
    """The objects of a label file; where a row is a box goes to `boxes`."""
    if not label.is_file():
        return ()
    instances = []
    for number, row in enumerate(read_text(label).splitlines(), 1):
        where = f"{label}: row {number}"
        try:
            if row.strip():
                class_id, annotation = _annotation(row, size, class_ids)
                if class_id is not None:
                    annotation["id"] = f"{label.name} row {number}"
                    made = make_instance(annotation, class_id, *size, mender(problems, where))
                    instances.append(made)
                    if "bbox" in annotation:
                        boxes.append(where)
        except ValueError as error:
            problems.append(Problem(where, f"{error}; it is left out", "annotation"))
    return tuple(instances)


def _annotation(row, size, class_ids):
    """The class id of a row, None if it is not to be kept, and its fields as COCO's."""
    number, *values = map(float, row.split())
    if number not in class_ids:
        raise ValueError(f"there is no class {number:g} in names, which has {len(class_ids)}")
    if min(values, default=0) < -TOLERANCE or max(values, default=0) > 1 + TOLERANCE:
        raise ValueError(
            "coordinates must be shares, 0 to 1, of the image's width and height, got "
            f"{min(values):g} to {max(values):g}"
        )
    height, width = size
    if len(values) == 4:
        x, y, w, h = np.multiply(values, (width, height, width, height)).round(DECIMALS).tolist()
        return class_ids[number], {"bbox": [x - w / 2, y - h / 2, w, h]}
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"expected a class and three or more points x y, got {row!r:.80}")
    # Shares are rounded; so the pixels of which they were made come back as they were.
    polygon = (np.reshape(values, (-1, 2)) * (width, height)).round(DECIMALS).ravel().tolist()
    return class_ids[number], {"segmentation": [polygon]}


def _doubtful(file, entries, pairs, boxes):
    """What is said once of all the label files, and the label files without an image."""
    labels = Counter(label for _, label in pairs)
    if boxes:
        what = f"{len(boxes)} rows are boxes of a detection set, the first is {boxes[0]}"
        yield Problem(str(file), f"{what}; they become objects without a mask")
    missing = [label for image, label in pairs if image.is_file() and not label.is_file()]
    if missing:
        what = f"{len(missing)} images have no label file, the first would be {missing[0]}"
        yield Problem(str(file), f"{what}; they are read as background")
    for label, number in labels.items():
        if number > 1:
            yield Problem(str(label), f"it is the label file of {number} images; each gets all")
    folders = {label_path(entry / "a").parent for entry in entries if entry.suffix != ".txt"}
    for folder in sorted(folders - set(entries)):
        for label in sorted(folder.rglob("*.txt")):
            if label not in labels and label.name not in NO_LABELS:
                yield Problem(str(label), "there is no image for it; it is left out", "image")


def _polygon(instance, record, losses):
    """An object as one polygon; None, counted, if its mask is broken or empty."""
    if instance.segmentation is None:
        losses["objects without a mask, written as rectangles"] += 1
        return rectangle_polygon(*instance.box)
    if isinstance(instance.segmentation, list):
        parts = [_clockwise(polygon) for polygon in instance.segmentation]
        joined = join_outlines(parts)
        size = record.height, record.width
        if len(parts) == 1 or np.array_equal(
            decode_mask(parts, *size), decode_mask([joined], *size)
        ):
            return joined
        losses["objects whose parts overlap, traced along pixels"] += 1
    mask = full_mask(instance, record, losses)
    return None if mask is None else join_outlines(trace_outlines(mask))


def _shares(polygon, record, losses):
    """A polygon's points in shares of the image, as text."""
    shares = np.reshape(polygon, (-1, 2)) / (record.width, record.height)
    inside = shares.clip(0, 1)
    losses["objects cut at the image's edge"] += not np.array_equal(shares, inside)
    return " ".join(f"{share:.12g}" for share in inside.ravel())


def _clockwise(polygon):
    """The points in the order that makes the areas of parts add up."""
    points = np.reshape(polygon, (-1, 2))
    x, y = points.T
    signed = np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))
    return (points if signed >= 0 else points[::-1]).ravel().tolist()
