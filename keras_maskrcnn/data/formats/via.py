"""Datasets of the VGG Image Annotator (VIA), versions 1 and 2, as matterport's balloon set.

VIA notes where the mouse was in the image, rounded to whole pixels. These are taken as continuous
coordinates as ours are: a `rect` of x, y, width, height is the box [x, y, x + width, y + height],
and polygons lie as they are, without adding anything.
"""

import contextlib
import functools
import json
import os
import pathlib
from collections import Counter
from collections.abc import Sequence

from keras_maskrcnn.data.formats.shared.finding import ImageFinder
from keras_maskrcnn.data.formats.shared.grouping import (
    DrawnImage,
    choose_classes,
    contents_of,
    group_shapes,
    labels_of,
)
from keras_maskrcnn.data.formats.shared.json_files import outer_keys, read_json
from keras_maskrcnn.data.formats.shared.placing import (
    check_class_names,
    full_mask,
    place_images,
    without_crowds,
)
from keras_maskrcnn.data.formats.shared.values import class_name, flag
from keras_maskrcnn.data.images import image_size
from keras_maskrcnn.data.outlines import (
    ellipse_polygon,
    rectangle_polygon,
    trace_outlines,
)
from keras_maskrcnn.data.records import AnnotatedImages, Contents, Problem

NAME = "via"
FILE_NAME = "via_region_data.json"
LAYOUT = f"a file (.json) of images and their regions, or a folder with its {FILE_NAME}"
GROUP = "group_id"
OWN_NAME = "*"
ONLY_CLASS = "object"


def recognise(path: pathlib.Path, images: pathlib.Path | None) -> pathlib.Path | None:
    """The JSON file, known by a project's keys or those of an image, or one in a folder."""
    files = [path / "annotations.json", path / FILE_NAME] if path.is_dir() else [path]
    return next((f for f in files if f.suffix == ".json" and f.is_file() and _is_via(f)), None)


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
    class_attribute: str | None = None,
) -> Contents:
    """What a VIA file holds, a project or exported annotations.

    Polygons, rectangles, circles, ellipses, and polylines that end where they begin become objects;
    regions of one class that have the same value of an attribute `group_id` are the parts of one.
    Points and open lines are left out and listed.

    Args:
        path: The JSON file.
        images: The folder of the image files that it names; its own folder if None.
        class_names: The classes to keep, in the order of their class ids; all, sorted, if None.
        class_attribute: The region attribute that holds the class; if None, the only one that
            there is. Where there is none, every region is of the class "object". With "*" the
            class is the name of the attribute that a region has; if it has several, of the one
            that is not empty.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no VIA file, the class could be any of several attributes, or none of
            `class_names` occurs.
    """
    source = pathlib.Path(path)
    folder = source.parent if images is None else pathlib.Path(images)
    entries = _entries(source)
    attribute = class_attribute or _only_attribute(entries, source)
    describe = functools.partial(_describe, attribute=attribute)
    problems: list[Problem] = []
    drawn = []
    names = (entry.get("filename") for entry in entries.values() if isinstance(entry, dict))
    finder = ImageFinder([folder], (name for name in names if isinstance(name, str)))
    for key, entry in entries.items():
        where = f"{source}: {key}"
        try:
            image = _image_path(entry, finder)
            size, regions = image_size(image), _regions(entry)
        except (ValueError, OSError, TypeError) as error:
            problems.append(Problem(where, f"{error}; the image is left out", "image"))
        else:
            objects = group_shapes(regions, "regions", where, describe, problems)
            drawn.append(DrawnImage(where, key, image, size, objects))
    class_names = choose_classes(labels_of(drawn) or {ONLY_CLASS}, class_names, source)
    return contents_of(drawn, class_names, _polygons, problems)


def write(dataset: AnnotatedImages, folder: pathlib.Path, link_images: bool) -> dict[str, int]:
    """Writes `via_region_data.json` beside the images, and returns what it cannot hold.

    Raises:
        ValueError: A class has a name that is not read again.
    """
    check_class_names(dataset.class_names, "a VIA file")
    losses: Counter = Counter()
    entries = {}
    for record, name in place_images(dataset.records, folder, link_images):
        regions = []
        for number, instance in without_crowds(record, losses):
            parts = _shapes(instance, record, losses)
            attributes = {"class": dataset.class_names[instance.class_id]}
            if len(parts) > 1:
                attributes[GROUP] = str(number)
            regions += [{"shape_attributes": p, "region_attributes": attributes} for p in parts]
        size = (folder / name).stat().st_size
        entries[f"{name}{size}"] = {
            "filename": name,
            "size": size,
            "regions": regions,
            "file_attributes": {},
        }
    (folder / FILE_NAME).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    return +losses


def _is_via(file):
    outer, inner = outer_keys(file)
    return any(key.startswith("_via_") for key in outer) or bool(inner & {"regions", "fileref"})


def _entries(path):
    """The entries of the images by their keys."""
    content = read_json(path)
    if isinstance(content, dict):
        content = content.get("_via_img_metadata", content)
    if not isinstance(content, dict) or not any(
        isinstance(entry, dict) and "regions" in entry for entry in content.values()
    ):
        raise ValueError(f"{path}: not a VIA file: it names no image with its 'regions'.")
    return content


def _image_path(entry, finder):
    if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
        raise ValueError("has no filename")
    path = finder.find(entry["filename"])
    if path is None:
        raise ValueError(f"there is no image file {finder.describe(entry['filename'])}")
    return path


def _regions(entry):
    """The regions as a list: version 1 writes an object whose keys number them."""
    regions = entry.get("regions")
    if isinstance(regions, dict):
        return list(regions.values())
    if not isinstance(regions, list):
        raise ValueError(f"regions must be a list or an object, got {regions!r:.80}")
    return regions


def _only_attribute(entries, source):
    """The name of the regions' attribute, None if they have none."""
    names: set[str] = set()
    for entry in entries.values():
        with contextlib.suppress(ValueError, AttributeError, TypeError):  # it is listed later
            for region in _regions(entry):
                names.update(_attributes(region))
    names.discard(GROUP)
    if len(names) > 1:
        raise ValueError(
            f"{source}: its regions have the attributes {', '.join(sorted(names))}: say which is "
            "the class with class_attribute (keras-maskrcnn convert-dataset --class-attribute), or "
            f"'{OWN_NAME}' if the class is the name of the attribute that is set."
        )
    return names.pop() if names else None


def _describe(region, attribute):
    """The class of a region, and the group of the object that it is a part of."""
    attributes = _attributes(region)
    if attribute is None:
        return ONLY_CLASS, attributes.get(GROUP)
    if attribute == OWN_NAME:
        return _own_name(attributes), attributes.get(GROUP)
    value = attributes.get(attribute)
    if isinstance(value, dict):  # of a checkbox: the options and whether they are chosen
        chosen = [option for option in value if flag(value[option], f"{attribute} {option}")]
        if len(chosen) != 1:
            raise ValueError(f"{attribute!r} must have one option, it has {len(chosen)}")
        value = chosen[0]
    return class_name(value, repr(attribute)), attributes.get(GROUP)


def _attributes(region):
    attributes = region.get("region_attributes")
    return attributes if isinstance(attributes, dict) else {}


def _own_name(attributes):
    """The name of the one attribute of a region, or of the one that is not empty."""
    names = [name for name in attributes if name != GROUP]
    if len(names) != 1:
        names = [name for name in names if _is_set(attributes[name])]
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise ValueError(f"must have one attribute that is set, it has {found}")
    return class_name(names[0], "attribute")


def _is_set(value):
    if isinstance(value, dict):  # of a checkbox
        return any(map(_is_set, value.values()))
    if isinstance(value, str):
        return value.strip().lower() not in ("", "0", "false")
    return bool(value)


def _polygons(regions, size):
    return [_polygon(region.get("shape_attributes")) for region in regions]


def _polygon(shape):
    """A region's shape as `[x, y, x, y, ...]`."""
    if not isinstance(shape, dict):
        raise ValueError("has no shape_attributes")
    kind = shape.get("name")
    if kind in ("polygon", "polyline"):
        x, y = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
            raise ValueError("all_points_x and all_points_y must be lists of the same length")
        points = list(zip(x, y, strict=True))
        if kind == "polyline" and (len(points) < 4 or points[0] != points.pop()):
            raise ValueError("a polyline that does not end where it begins encloses nothing")
        return [value for point in points for value in point]
    if kind == "rect":
        x, y, width, height = _values(shape, "x", "y", "width", "height")
        return rectangle_polygon(x, y, x + width, y + height)
    if kind == "circle":
        x, y, radius = _values(shape, "cx", "cy", "r")
        return ellipse_polygon((x, y), (radius, radius))
    if kind == "ellipse":
        x, y, *radii = _values(shape, "cx", "cy", "rx", "ry")
        return ellipse_polygon((x, y), tuple(radii), float(shape.get("theta") or 0.0))
    raise ValueError(f"a {kind!r} encloses nothing")


def _values(shape, *names):
    missing = [name for name in names if shape.get(name) is None]
    if missing:
        raise ValueError(f"a {shape['name']} needs {', '.join(missing)}")
    return [float(shape[name]) for name in names]


def _shapes(instance, record, losses):
    """An object as VIA's shapes."""
    if instance.segmentation is None:
        losses["objects without a mask, written as rectangles"] += 1
        x0, y0, x1, y1 = instance.box
        return [{"name": "rect", "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}]
    polygons = instance.segmentation
    if isinstance(polygons, dict):
        mask = full_mask(instance, record, losses)
        if mask is None:
            return []
        polygons = trace_outlines(mask)
    return [
        {"name": "polygon", "all_points_x": polygon[::2], "all_points_y": polygon[1::2]}
        for polygon in polygons
    ]
