"""Datasets of the VGG Image Annotator (VIA), versions 1 and 2, as matterport's balloon set.

VIA notes where the mouse was in the image, rounded to whole pixels. These are taken as continuous
coordinates as ours are: a `rect` of x, y, width, height is the box [x, y, x + width, y + height],
and polygons lie as they are, without adding anything.
"""

import contextlib
import json
import os
import pathlib
from collections import Counter
from collections.abc import Sequence

from keras_maskrcnn.data.formats.shared.instances import (
    choose_classes,
    ellipse_polygon,
    make_instance,
    mender,
    polygon_area,
    rectangle_polygon,
)
from keras_maskrcnn.data.formats.shared.placing import full_mask, place_images
from keras_maskrcnn.data.images import image_size
from keras_maskrcnn.data.records import Contents, Problem, Record
from keras_maskrcnn.data.tracing import trace_outlines

FILE_NAME = "via_region_data.json"
GROUP = "group_id"
ONLY_CLASS = "object"


def read_via(
    annotations: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
    class_attribute: str | None = None,
) -> Contents:
    """What a VIA file holds, a project or exported annotations.

    Polygons, rectangles, circles and ellipses become objects; regions of one class that have the
    same value of an attribute `group_id` are the parts of one. Points and lines are left out and
    listed.

    Args:
        annotations: The JSON file.
        images: The folder of the image files that it names; its own folder if None.
        class_names: The classes to keep, in the order of their class ids; all, sorted, if None.
        class_attribute: The region attribute that holds the class; if None, the only one that
            there is. Where there is none, every region is of the class "object".

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no VIA file, the class could be any of several attributes, or none of
            `class_names` occurs.
    """
    source = pathlib.Path(annotations)
    folder = source.parent if images is None else pathlib.Path(images)
    entries = _read_json(source)
    attribute = class_attribute or _only_attribute(entries, source)
    problems: list[Problem] = []
    opened = []
    for key, entry in entries.items():
        try:
            path = _image_path(entry, folder)
            opened.append((f"{source}: {key}", path, image_size(path), _regions(entry)))
        except (ValueError, OSError, TypeError) as error:
            problems.append(Problem(f"{source}: {key}", f"{error}; the image is left out", "image"))
    found = _classified(opened, attribute, problems)
    labels = {label for *_, groups in found for label, _ in groups}
    class_names = choose_classes(labels or {ONLY_CLASS}, class_names, source)
    class_ids = {name: i for i, name in enumerate(class_names)}
    records = [
        Record(number, path, *size, _instances(where, groups, class_ids, size, problems))
        for number, (where, path, size, groups) in enumerate(found, 1)
    ]
    return Contents(records, class_names, problems)


def write_via(dataset, folder: pathlib.Path, link: bool) -> dict[str, int]:
    """Writes `via_region_data.json` beside the images, and returns what it cannot hold."""
    losses: Counter = Counter()
    entries = {}
    for record, name in place_images(dataset.records, folder, link):
        regions = []
        for number, instance in enumerate(record.instances, 1):
            if instance.crowd:
                losses["crowds, left out"] += 1
                continue
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


def _read_json(path):
    """The entries of the images by their keys."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    if isinstance(content, dict):
        content = content.get("_via_img_metadata", content)
    if (
        not isinstance(content, dict)
        or not content
        or not any(isinstance(entry, dict) and "regions" in entry for entry in content.values())
    ):
        raise ValueError(f"{path}: not a VIA file: it names no image with its 'regions'.")
    return content


def _image_path(entry, folder):
    if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
        raise ValueError("has no filename")
    path = os.fspath(folder / entry["filename"])
    if not os.path.isfile(path):
        raise ValueError(f"there is no image file {path}")
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
                names.update(region.get("region_attributes", {}))
    names.discard(GROUP)
    if len(names) > 1:
        raise ValueError(
            f"{source}: its regions have the attributes {', '.join(sorted(names))}: say which is "
            "the class with class_attribute (keras-maskrcnn convert-dataset --class-attribute)."
        )
    return names.pop() if names else None


def _classified(opened, attribute, problems):
    """The images with their regions by object: `{(class, group): [(name, region), ...]}`."""
    found = []
    for where, path, size, regions in opened:
        groups: dict[tuple, list] = {}
        for index, region in enumerate(regions):
            name = f"regions[{index}]"
            try:
                label, group = _object_of(region, attribute)
                key = label, ("alone", index) if group is None else ("group", str(group))
                groups.setdefault(key, []).append((name, region.get("shape_attributes")))
            except ValueError as error:
                what = f"{error}; it is left out"
                problems.append(Problem(f"{where} {name}", what, "annotation"))
        found.append((where, path, size, groups))
    return found


def _object_of(region, attribute):
    """The class of a region, and which object it is a part of, None if it is alone."""
    attributes = region.get("region_attributes") if isinstance(region, dict) else None
    attributes = attributes if isinstance(attributes, dict) else {}
    if attribute is None:
        return ONLY_CLASS, attributes.get(GROUP)
    value = attributes.get(attribute)
    if isinstance(value, dict):  # of a checkbox: the options and whether they are chosen
        chosen = [option for option, is_chosen in value.items() if is_chosen]
        if len(chosen) != 1:
            raise ValueError(f"{attribute!r} must have one option, it has {len(chosen)}")
        value = chosen[0]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"has no {attribute!r}")
    return value.strip(), attributes.get(GROUP)


def _instances(where, groups, class_ids, size, problems):
    instances = []
    for (label, _), parts in groups.items():
        if label not in class_ids:
            continue
        place = f"{where} {parts[0][0]}"
        try:
            polygons = [_polygon(shape) for _, shape in parts]
            annotation = {"id": f"{where.split(': ', 1)[1]} {parts[0][0]}"}
            annotation["segmentation"] = polygons
            mended = mender(problems, place)
            instances.append(make_instance(annotation, class_ids[label], *size, mended))
        except (ValueError, TypeError) as error:
            problems.append(Problem(place, f"{error}; it is left out", "annotation"))
    return tuple(instances)


def _polygon(shape):
    """A region's shape as `[x, y, x, y, ...]`."""
    if not isinstance(shape, dict):
        raise ValueError("has no shape_attributes")
    kind = shape.get("name")
    if kind == "polygon":
        x, y = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
            raise ValueError("all_points_x and all_points_y must be lists of the same length")
        return [value for point in zip(x, y, strict=True) for value in point]
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
        filled = sum(map(polygon_area, polygons)) > mask.sum()
        losses["objects whose holes are filled"] += filled
    return [
        {"name": "polygon", "all_points_x": polygon[::2], "all_points_y": polygon[1::2]}
        for polygon in polygons
    ]
