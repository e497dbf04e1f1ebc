"""Datasets in LabelMe's format: a JSON file an image.

Its points are continuous pixels as ours are: the point (0, 0) is the top-left corner of the first
pixel, and nothing is added. A pixel mask says of whole pixels where it begins; the box around it
ends behind its last pixel.
"""

import base64
import binascii
import io
import itertools
import json
import os
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image

from keras_maskrcnn.data.formats.shared.finding import ImageFinder, files_by_stem, is_picture
from keras_maskrcnn.data.formats.shared.grouping import (
    DrawnImage,
    choose_classes,
    contents_of,
    group_shapes,
    labels_of,
)
from keras_maskrcnn.data.formats.shared.json_files import outer_keys, read_json
from keras_maskrcnn.data.formats.shared.parts import combine_parts, paste_mask
from keras_maskrcnn.data.formats.shared.placing import (
    check_class_names,
    full_mask,
    place_images,
    without_crowds,
)
from keras_maskrcnn.data.formats.shared.values import class_name, coordinates, pixels
from keras_maskrcnn.data.images import encoded_image_size, image_size
from keras_maskrcnn.data.outlines import ellipse_polygon, rectangle_polygon
from keras_maskrcnn.data.records import AnnotatedImages, Contents, Problem, Record

NAME = "labelme"
KEYS = ("shapes", "imagePath", "imageData")
NO_CLASSES = ("__ignore__", "_background_")  # LabelMe's own words for what is no object
LAYOUT = f"a folder of a JSON file an image, of {' and '.join(KEYS[:2])}"


def recognise(path: pathlib.Path, images: pathlib.Path | None) -> pathlib.Path | None:
    """The folder, if one of its JSON files has LabelMe's keys."""
    found = any(outer_keys(file)[0].intersection(KEYS) for file in _json_files(path))
    return path if found else None


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
) -> Contents:
    """What a folder of LabelMe files holds.

    Polygons, rectangles, circles, oriented rectangles and masks become objects; shapes of one
    label and one `group_id` are the parts of one. Points and lines are left out and listed, the
    labels `__ignore__` and `_background_` mean no object. The image is the file that `imagePath`
    names, else one that is called as the JSON file is, else the picture in it (`imageData`), which
    is kept in memory.

    Args:
        path: The folder of the `*.json` files.
        images: The folder of the images; if None, `imagePath` is followed from the JSON file.
        class_names: The labels to keep, in the order of their class ids; all, sorted, if None.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no JSON file, or none of `class_names` occurs.
    """
    folder = pathlib.Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    files = _json_files(folder)
    if not files:
        raise ValueError(f"{folder} holds no LabelMe file (*.json).")
    problems: list[Problem] = []
    pictures = folder if images is None else pathlib.Path(images)
    stems = files_by_stem(pictures)
    contents = {}
    for file in files:
        try:
            contents[file] = _read_file(file, pictures, stems)
        except (ValueError, OSError) as error:
            problems.append(Problem(str(file), f"{error}; the image is left out", "image"))
    finder = ImageFinder([pictures], [content["imagePath"] for content in contents.values()])
    drawn = []
    for file, content in contents.items():
        try:
            path, encoded = _picture(file, content, finder, stems)
            size = _size(content, path, encoded)
        except (ValueError, OSError) as error:
            problems.append(Problem(str(file), f"{error}; the image is left out", "image"))
        else:
            where = f"{file}:"
            objects = group_shapes(content["shapes"], "shapes", where, _describe, problems)
            drawn.append(DrawnImage(where, file.name, path, size, objects, encoded))
    class_names = choose_classes(labels_of(drawn), class_names, folder)
    return contents_of(drawn, class_names, _segmentation, problems)


def write(dataset: AnnotatedImages, folder: pathlib.Path, link_images: bool) -> dict[str, int]:
    """Writes a JSON file beside each image, and returns what they cannot hold.

    Raises:
        ValueError: A class has a name that LabelMe takes for none.
    """
    check_class_names(dataset.class_names, "LabelMe's files", NO_CLASSES)
    losses: Counter = Counter()
    for record, name in place_images(dataset.records, folder, link_images):
        path = (folder / name).with_suffix(".json")
        write_file(path, record, name, dataset.class_names, losses)
    return +losses


def write_file(
    path: pathlib.Path,
    record: Record,
    image_path: str,
    class_names: Sequence[str] | Mapping[int, str],
    losses: Counter,
) -> None:
    """Writes the JSON file of one image.

    Args:
        path: Of the file.
        record: The image and its objects.
        image_path: Of the image, as seen from the file's folder.
        class_names: The name of each class id.
        losses: Counts what the file cannot hold.
    """
    shapes = []
    for number, instance in without_crowds(record, losses):
        parts = _shapes(instance, record, losses)
        for part in parts:
            part["label"] = class_names[instance.class_id]
            part["group_id"] = number if len(parts) > 1 else None
            part["flags"] = {}
        shapes += parts
    content = {
        "version": "5.5.0",  # of LabelMe: the first with masks and descriptions is 5.3
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": record.height,
        "imageWidth": record.width,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _json_files(folder):
    return sorted(file for file in folder.glob("*.json") if not file.name.startswith("."))


def _read_file(file, folder, stems):
    """The content of a LabelMe file, without `imageData` where there is a file of the image."""
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise ValueError("not a LabelMe file: it has no list 'shapes'")
    name = content.get("imagePath")
    if not isinstance(name, str):
        raise ValueError("not a LabelMe file: it has no 'imagePath'")
    path = folder / name.replace("\\", "/")
    if (path.is_file() and is_picture(path.name)) or len(stems.get(file.stem, ())) == 1:
        content["imageData"] = None  # those of many files would fill the memory
    return content


def _picture(file, content, finder, stems):
    """The path of an image, and its bytes where they are in the LabelMe file only."""
    name = content["imagePath"]
    path = finder.find(name)
    if path is not None and is_picture(os.path.basename(path)):
        return path, None
    same_stem = stems.get(file.stem, ())
    if len(same_stem) == 1:
        return same_stem[0], None
    if not content.get("imageData"):
        what = f"there is no image file {finder.describe(name)}"
        raise ValueError(
            f"{f'{path} is no image' if path else what}; nor is there another one of the stem "
            f"{file.stem}, nor imageData"
        )
    return _embedded(file, content["imageData"])


def _embedded(file, text):
    """The bytes of the picture in a LabelMe file, and the path that its file would have."""
    try:
        data = base64.b64decode(text)
        with PIL.Image.open(io.BytesIO(data)) as picture:
            suffix = picture.format.lower()
    except (binascii.Error, TypeError, ValueError, OSError, SyntaxError) as error:
        raise ValueError(f"its imageData is no picture in base64: {error}") from error
    return os.fspath(file.with_suffix(f".{suffix}")), data


def _size(content, path, encoded):
    """The height and width of an image, which have to be what the LabelMe file says."""
    size = image_size(path) if encoded is None else encoded_image_size(encoded, path)
    for key, side in zip(("imageHeight", "imageWidth"), size, strict=True):
        said = content.get(key)
        if said is not None and pixels(said, key) != side:
            raise ValueError(f"{path} is {size[1]}x{size[0]}, but its {key} is said to be {said}")
    return size


def _describe(shape):
    """The label of a shape, and the group of the object that it is a part of; None if of none."""
    label = class_name(shape.get("label"), "label")
    return None if label in NO_CLASSES else (label, shape.get("group_id"))


def _segmentation(shapes, size):
    return combine_parts([_part(shape, size) for shape in shapes], size)


def _part(shape, size):
    """One shape as a polygon `[x, y, x, y, ...]`, or as a mask (H, W)."""
    kind = shape.get("shape_type") or "polygon"
    points = _points(shape.get("points"))
    if kind in ("polygon", "oriented_rectangle"):
        return points.ravel().tolist()
    if kind == "rectangle":
        return rectangle_polygon(*points.min(0).tolist(), *points.max(0).tolist())
    if kind not in ("circle", "mask"):
        raise ValueError(f"a {kind!r} encloses nothing")
    if len(points) != 2:
        raise ValueError(f"a {kind} has 2 points, got {len(points)}")
    if kind == "circle":
        radius = float(np.linalg.norm(points[1] - points[0]))
        return ellipse_polygon(tuple(points[0].tolist()), (radius, radius))
    return _pasted(shape.get("mask"), points[0], size)


def _points(points):
    if not isinstance(points, list) or not all(
        isinstance(point, list | tuple) and len(point) == 2 for point in points
    ):
        raise ValueError(f"points must be a list of [x, y], got {points!r:.80}")
    if not points:
        raise ValueError("has no points")
    return np.reshape(coordinates(itertools.chain.from_iterable(points), "points"), (-1, 2))


def _pasted(text, corner, size):
    """The pixels of a mask, a PNG in base64, at their place in the image."""
    try:
        data = base64.b64decode(text, validate=True)
        with PIL.Image.open(io.BytesIO(data)) as picture:
            patch = np.array(picture) > 0
    except (binascii.Error, TypeError, OSError, SyntaxError) as error:
        raise ValueError(f"its mask is no PNG in base64: {error}") from error
    if patch.ndim != 2:
        raise ValueError(f"its mask must have one channel, got shape {patch.shape}")
    left, top = (int(value) for value in np.round(corner))
    return paste_mask(patch, left, top, size)


def _shapes(instance, record, losses):
    """An object as LabelMe's shapes, without label and group."""
    if instance.segmentation is None:
        losses["objects without a mask, written as rectangles"] += 1
        x0, y0, x1, y1 = instance.box
        return [{"shape_type": "rectangle", "points": [[x0, y0], [x1, y1]]}]
    if isinstance(instance.segmentation, list):
        return [
            {"shape_type": "polygon", "points": np.reshape(polygon, (-1, 2)).tolist()}
            for polygon in instance.segmentation
        ]
    mask = full_mask(instance, record, losses)
    if mask is None:
        return []
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = (int(v) for v in (rows[0], rows[-1], columns[0], columns[-1]))
    data = io.BytesIO()
    PIL.Image.fromarray(mask[top : bottom + 1, left : right + 1]).save(data, "PNG")
    corners = [[left, top], [right, bottom]]
    text = base64.b64encode(data.getvalue()).decode()
    return [{"shape_type": "mask", "points": corners, "mask": text}]
