"""Datasets in LabelMe's format: a JSON file an image.

Its points are continuous pixels as ours are: the point (0, 0) is the top-left corner of the first
pixel, and nothing is added. A pixel mask says of whole pixels where it begins; the box around it
ends behind its last pixel.
"""

import base64
import binascii
import io
import json
import os
import pathlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import PIL.Image

from keras_maskrcnn.data.formats.shared.instances import (
    choose_classes,
    ellipse_polygon,
    make_instance,
    mender,
    rectangle_polygon,
)
from keras_maskrcnn.data.formats.shared.placing import full_mask, place_images
from keras_maskrcnn.data.images import image_size
from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.records import Contents, Problem, Record
from keras_maskrcnn.data.tracing import encode_mask


def read_labelme(folder: str | os.PathLike, class_names: Sequence[str] | None = None) -> Contents:
    """What a folder of LabelMe files holds.

    Polygons, rectangles, circles, oriented rectangles and masks become objects; shapes of one
    label and one `group_id` are the parts of one. Points and lines are left out and listed. The
    images are the files that `imagePath` names, beside the JSON file; pictures inside of it
    (`imageData`) are not used.

    Args:
        folder: Of the `*.json` files.
        class_names: The labels to keep, in the order of their class ids; all, sorted, if None.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no JSON file, or none of `class_names` occurs.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    files = sorted(folder.glob("*.json"))
    if not files:
        raise ValueError(f"{folder} holds no LabelMe file (*.json).")
    problems: list[Problem] = []
    opened = []
    for file in files:
        try:
            opened.append((file, *_read_file(file)))
        except (ValueError, OSError, TypeError) as error:
            problems.append(Problem(str(file), f"{error}; the image is left out", "image"))
    labels = set().union(*(_labels(shapes) for *_, shapes in opened))
    class_names = choose_classes(labels, class_names, folder)
    class_ids = {name: i for i, name in enumerate(class_names)}
    records = [
        Record(number, path, *size, _instances(file, shapes, class_ids, size, problems))
        for number, (file, path, size, shapes) in enumerate(opened, 1)
    ]
    return Contents(records, class_names, problems)


def write_labelme(dataset, folder: pathlib.Path, link: bool) -> dict[str, int]:
    """Writes a JSON file beside each image, and returns what they cannot hold."""
    losses: Counter = Counter()
    for record, name in place_images(dataset.records, folder, link):
        shapes = []
        for number, instance in enumerate(record.instances, 1):
            if instance.crowd:
                losses["crowds, left out"] += 1
                continue
            parts = _shapes(instance, record, losses)
            for part in parts:
                part["label"] = dataset.class_names[instance.class_id]
                part["group_id"] = number if len(parts) > 1 else None
                part["flags"] = {}
            shapes += parts
        content = {
            "version": "5.5.0",  # of LabelMe: the first with masks and descriptions is 5.3
            "flags": {},
            "shapes": shapes,
            "imagePath": name,
            "imageData": None,
            "imageHeight": record.height,
            "imageWidth": record.width,
        }
        path = (folder / name).with_suffix(".json")
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return +losses


def _read_file(file):
    """The image's path and size (height, width), and the shapes of a LabelMe file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a JSON file: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise ValueError("not a LabelMe file: it has no list 'shapes'")
    if not isinstance(content.get("imagePath"), str):
        raise ValueError("not a LabelMe file: it has no 'imagePath'")
    path = file.parent / content["imagePath"].replace("\\", "/")  # written on Windows
    if not path.is_file():
        raise ValueError(f"there is no image file {path}")
    size = content.get("imageHeight"), content.get("imageWidth")
    if not all(type(side) is int and side > 0 for side in size):
        size = image_size(path)
    return os.fspath(path), size, content["shapes"]


def _labels(shapes):
    labels = [shape.get("label") for shape in shapes if isinstance(shape, dict)]
    return {label for label in labels if isinstance(label, str) and label}


def _instances(file, shapes, class_ids, size, problems):
    groups: dict[tuple, list[int]] = {}
    for index, shape in enumerate(shapes):
        try:
            key = _object_of(shape, index)
        except ValueError as error:
            where = f"{file}: shapes[{index}]"
            problems.append(Problem(where, f"{error}; it is left out", "annotation"))
            continue
        if shape["label"] in class_ids:
            groups.setdefault(key, []).append(index)
    instances = []
    for (label, _), indices in groups.items():
        name = f"shapes[{indices[0]}]"
        where = f"{file}: {name}"
        try:
            parts = [_part(shapes[index], size) for index in indices]
            annotation = {"id": f"{file.name} {name}", "segmentation": _union(parts, size)}
            mended = mender(problems, where)
            instances.append(make_instance(annotation, class_ids[label], *size, mended))
        except (ValueError, TypeError, KeyError) as error:
            problems.append(Problem(where, f"{error}; it is left out", "annotation"))
    return tuple(instances)


def _object_of(shape, index):
    """What the shapes of one object have in common."""
    if not isinstance(shape, dict):
        raise ValueError(f"must be an object, got {shape!r:.80}")
    if not isinstance(shape.get("label"), str) or not shape["label"]:
        raise ValueError("has no label")
    group = shape.get("group_id")
    return shape["label"], ("alone", index) if group is None else ("group", str(group))


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
    points = np.array(points, float)
    if not np.isfinite(points).all():
        raise ValueError("points has a coordinate that is NaN or infinite")
    return points


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
    mask = np.zeros(size, np.uint8)
    left, top = (int(value) for value in np.round(corner))
    if left < 0 or top < 0 or top + patch.shape[0] > size[0] or left + patch.shape[1] > size[1]:
        raise ValueError("its mask reaches out of the image")
    mask[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    return mask


def _union(parts, size):
    """Polygons if all parts are, else the RLE of their union."""
    if all(isinstance(part, list) for part in parts):
        return parts
    masks = [decode_mask([part], *size) if isinstance(part, list) else part for part in parts]
    return encode_mask(np.any(masks, axis=0))


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
