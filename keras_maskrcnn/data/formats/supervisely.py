"""Projects in the "Supervisely JSON Annotation Format": `meta.json`, and `img/` and `ann/`.

Its whole numbers count pixels: a polygon goes through the centres of the pixels that are named, a
rectangle from the left edge of its first to the right edge of its last. Numbers with fractions are
continuous pixels as ours are. A bitmap says of whole pixels where it begins.
"""

import base64
import io
import itertools
import os
import pathlib
import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import PIL.Image

from keras_maskrcnn.data.formats.shared.finding import is_picture
from keras_maskrcnn.data.formats.shared.grouping import (
    DrawnImage,
    choose_listed_classes,
    contents_of,
    group_shapes,
    labels_of,
)
from keras_maskrcnn.data.formats.shared.json_files import outer_keys, read_json
from keras_maskrcnn.data.formats.shared.parts import combine_parts, paste_mask
from keras_maskrcnn.data.formats.shared.values import class_name, coordinates, pixels
from keras_maskrcnn.data.images import image_size
from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.outlines import rectangle_polygon
from keras_maskrcnn.data.records import Contents, Problem

NAME = "supervisely"
META = "meta.json"
LAYOUT = (
    f"a Supervisely project (a folder of {META} and a folder a dataset), or one of its datasets"
)
LEVELS = 5  # from a dataset up to the project: datasets can be nested
NO_AREAS = ("point", "line", "graph", "cuboid", "cuboid_2d", "alpha_mask")
SIDES = ("height", "width")


def recognise(path: pathlib.Path, images: pathlib.Path | None) -> pathlib.Path | None:
    """A project, or one of its datasets."""
    if not path.is_dir():
        return None
    return path if _is_dataset(path) or (_is_project(path) and any(_datasets(path))) else None


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
) -> Contents:
    """What a dataset of a Supervisely project holds.

    Polygons with their holes, multipolygons, rectangles and bitmaps become objects; those of one
    class that are bound to one instance are the parts of one. Points, lines, cuboids, keypoints and
    alpha masks are left out and listed.

    Args:
        path: The folder of `img/` and `ann/`; or the project, if it has one dataset.
        images: The folder of the images, if they are not in `img/`.
        class_names: The classes to keep, in the order of their class ids; all that can have an
            area, in the order of `meta.json`, if None.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It is no dataset of Supervisely, a project of several, which the message names,
            or there is no class of that name.
    """
    dataset, project = _dataset_and_project(pathlib.Path(path))
    folder = dataset / "img" if images is None else pathlib.Path(images)
    shapes_of_classes = _classes(project / META)
    problems: list[Problem] = []
    drawn = []
    files = sorted((dataset / "ann").glob("*.json"))
    for file in files:
        try:
            image = folder / file.stem
            size, objects = _read_file(file, image)
        except (ValueError, OSError) as error:
            problems.append(Problem(str(file), f"{error}; the image is left out", "image"))
        else:
            where = f"{file}:"
            for shape in objects:
                if isinstance(shape, dict) and not shape.get("geometryType"):  # of old versions
                    title = str(shape.get("classTitle")).strip()
                    shape["geometryType"] = shapes_of_classes.get(title)
            grouped = group_shapes(objects, "objects", where, _describe, problems)
            drawn.append(DrawnImage(where, file.name, os.fspath(image), size, grouped))
    problems += _without_annotation(dataset / "img", {file.stem for file in files})
    listed = [name for name, shape in shapes_of_classes.items() if shape not in NO_AREAS]
    class_names = choose_listed_classes(listed, labels_of(drawn), class_names, project)
    return contents_of(drawn, class_names, _segmentation, problems)


def _is_dataset(folder):
    return (folder / "ann").is_dir() and any(map(_is_project, list(folder.parents)[:LEVELS]))


def _is_project(folder):
    meta = folder / META
    return meta.is_file() and "classes" in outer_keys(meta)[0]


def _datasets(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The datasets of a project, and those in `datasets/` of each."""
    for child in sorted(folder.iterdir()):
        if (child / "ann").is_dir():
            yield child
        if (child / "datasets").is_dir():
            yield from _datasets(child / "datasets")


def _dataset_and_project(path):
    if _is_dataset(path):
        return path, next(filter(_is_project, path.parents))
    if not _is_project(path):
        raise ValueError(f"{path}: not a Supervisely project: it has no {META} of classes.")
    datasets = list(_datasets(path))
    if len(datasets) != 1:
        found = "".join(f"\n  {folder}" for folder in datasets) or " none"
        raise ValueError(f"{path}: open one of its datasets; there are{found}")
    return datasets[0], path


def _classes(meta):
    """The kind of shape of each class, by its title."""
    content = read_json(meta)
    classes = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(classes, list):
        raise ValueError(f"{meta}: it has no list 'classes'.")
    shapes = {}
    for index, entry in enumerate(classes):
        try:
            if not isinstance(entry, dict):
                raise ValueError(f"must be an object, got {entry!r:.80}")
            shapes[class_name(entry.get("title"), "title")] = entry.get("shape")
        except ValueError as error:
            raise ValueError(f"{meta}: classes[{index}] {error}.") from error
    return shapes


def _read_file(file, image):
    """The size (height, width) of an image, and the objects that its file lists."""
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
        raise ValueError("not a file of Supervisely: it has no list 'objects'")
    if not image.is_file():
        raise ValueError(f"there is no image file {image}")
    size, said = image_size(image), content.get("size")
    if isinstance(said, dict) and size != tuple(pixels(said.get(s), f"size {s}") for s in SIDES):
        raise ValueError(
            f"{image} is {size[1]}x{size[0]}, but its size is said to be "
            f"{said['width']}x{said['height']}"
        )
    return size, content["objects"]


def _without_annotation(folder, annotated):
    """The images that no file belongs to."""
    if folder.is_dir():
        for name in sorted(os.listdir(folder)):
            if name not in annotated and is_picture(name):
                what = f"there is no ann/{name}.json; the image is left out"
                yield Problem(str(folder / name), what, "image")


def _describe(shape):
    return class_name(shape.get("classTitle"), "classTitle"), shape.get("instance")


def _segmentation(shapes, size):
    return combine_parts([part for shape in shapes for part in _parts(shape, size)], size)


def _parts(shape, size):
    """One shape as polygons `[x, y, x, y, ...]` and masks (H, W)."""
    kind = shape.get("geometryType")
    if kind == "bitmap":
        return [_bitmap(shape.get("bitmap"), size)]
    if kind == "rectangle":
        corners = _points(_field(shape.get("points"), "exterior"))
        first, last = corners.min(0), corners.max(0) + _is_whole(corners)
        return [rectangle_polygon(*first.tolist(), *last.tolist())]
    if kind == "polygon":
        return [_with_holes(shape.get("points"), size)]
    if kind == "multipolygon" and isinstance(shape.get("parts"), list):
        return [_with_holes(part, size) for part in shape["parts"]]
    raise ValueError(f"a {kind!r} has no area that is read")


def _with_holes(points, size):
    outline, *holes = [
        (loop + 0.5 * _is_whole(loop)).ravel().tolist()
        for loop in map(_points, [_field(points, "exterior"), *(points.get("interior") or [])])
    ]
    if not holes or len(outline) < 6:
        return outline
    if any(len(hole) < 6 for hole in holes):
        raise ValueError("a hole needs three points")
    return decode_mask([outline], *size).astype(bool) & (decode_mask(holes, *size) == 0)


def _field(value, name):
    if not isinstance(value, dict) or name not in value:
        raise ValueError(f"has no {name}")
    return value[name]


def _points(points):
    if (
        not isinstance(points, list)
        or not points
        or not all(isinstance(point, list) and len(point) == 2 for point in points)
    ):
        raise ValueError(f"points must be a list of [x, y], got {points!r:.80}")
    return np.reshape(coordinates(itertools.chain.from_iterable(points), "points"), (-1, 2))


def _is_whole(points):
    return bool(np.all(points == np.round(points)))


def _bitmap(bitmap, size):
    """The pixels of a bitmap, a compressed PNG in base64, at their place in the image."""
    origin = _points([_field(bitmap, "origin")])[0]
    most = 8 * size[0] * size[1] + 2**16  # bytes of a PNG that is no larger than the image
    try:
        inflating = zlib.decompressobj()
        data = inflating.decompress(base64.b64decode(_field(bitmap, "data")), most)
        with PIL.Image.open(io.BytesIO(data)) as picture:
            if picture.width > size[1] or picture.height > size[0]:
                raise ValueError(f"it is {picture.width}x{picture.height}, larger than the image")
            transparent = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
            patch = np.array(picture.convert("RGBA").getchannel("A") if transparent else picture)
    except (TypeError, ValueError, OSError, EOFError, SyntaxError) as error:
        raise ValueError(f"its bitmap cannot be read: {error}") from error
    except (zlib.error, struct.error, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"its bitmap is no compressed PNG in base64: {error}") from error
    if patch.ndim != 2:
        raise ValueError(f"its bitmap must have one channel, got shape {patch.shape}")
    left, top = (int(value) for value in np.round(origin))
    return paste_mask(patch > 0, left, top, size)
