"""Datasets in the format "CVAT for images 1.1": a file `annotations.xml`, and images.

Its points are continuous pixels as ours are. The runs of a `<mask>` go row after row through its
own rectangle of whole pixels and begin with one of background. Rotations are clockwise degrees
about the centre.
"""

import math
import os
import pathlib
import re
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np

from keras_maskrcnn.data.formats.shared.finding import ImageFinder
from keras_maskrcnn.data.formats.shared.grouping import (
    DrawnImage,
    choose_listed_classes,
    contents_of,
    group_shapes,
    labels_of,
)
from keras_maskrcnn.data.formats.shared.json_files import START
from keras_maskrcnn.data.formats.shared.parts import combine_parts, paste_mask
from keras_maskrcnn.data.formats.shared.placing import (
    check_class_names,
    full_mask,
    place_images,
    without_crowds,
)
from keras_maskrcnn.data.formats.shared.values import class_name, pixels
from keras_maskrcnn.data.formats.shared.xml_files import read_xml
from keras_maskrcnn.data.images import image_size
from keras_maskrcnn.data.outlines import ellipse_polygon, rectangle_polygon
from keras_maskrcnn.data.records import AnnotatedImages, Contents, Problem

NAME = "cvat"
FILE_NAME = "annotations.xml"
LAYOUT = f"a file (.xml) of CVAT for images, or a folder with its {FILE_NAME}"
SIDES = ("height", "width")
NO_AREAS = ("tag", "points", "polyline", "skeleton", "cuboid")  # types of labels, not of objects


def recognise(path: pathlib.Path, images: pathlib.Path | None) -> pathlib.Path | None:
    """The XML file, known by its outermost element, or the one in a folder."""
    file = path / FILE_NAME if path.is_dir() else path
    if file.suffix != ".xml" or not file.is_file():
        return None
    with file.open("rb") as opened:
        return file if re.search(rb"<annotations[\s>]", opened.read(START)) else None


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
) -> Contents:
    """What a file of CVAT for images holds.

    Polygons, boxes, ellipses, masks, and polylines that end where they begin become objects; shapes
    of one label and one group are the parts of one. Points, open lines, cuboids and skeletons are
    left out and listed; the tags of whole images are counted.

    Args:
        path: The XML file.
        images: The folder of the images; if None, `images/` beside the file, or its own folder. A
            project's lie there in a folder a subset.
        class_names: The labels to keep, in the order of their class ids; all that can have an area,
            in the order of the file, if None.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no file of CVAT for images, or has no label of that name.
    """
    source = pathlib.Path(path)
    root = _read_root(source)
    folders = [source.parent / "images", source.parent] if images is None else [images]
    elements = root.findall("image")
    finder = ImageFinder(folders, map(_file_name, elements))
    problems: list[Problem] = []
    drawn = []
    for index, element in enumerate(elements):
        where = f"{source}: image[{index}]"
        try:
            file, size = _picture(element, finder)
        except (ValueError, OSError) as error:
            problems.append(Problem(where, f"{error}; the image is left out", "image"))
        else:
            shapes = [{**shape.attrib, "kind": shape.tag} for shape in element]
            objects = group_shapes(shapes, "shape", where, _describe, problems)
            drawn.append(DrawnImage(where, _file_name(element), file, size, objects))
    tags = sum(len(element.findall("tag")) for element in elements)
    if tags:
        problems.append(Problem(str(source), f"its {tags} tags of whole images are passed over"))
    class_names = choose_listed_classes(_labels(root), labels_of(drawn), class_names, source)
    return contents_of(drawn, class_names, _segmentation, problems)


def write(dataset: AnnotatedImages, folder: pathlib.Path, link_images: bool) -> dict[str, int]:
    """Writes `annotations.xml` and `images/`, and returns what they cannot hold.

    Raises:
        ValueError: A class has a name that is not read again.
    """
    check_class_names(dataset.class_names, "CVAT's file")
    losses: Counter = Counter()
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(root, "meta")
    for tag in ("task", "labels"):
        labels = ElementTree.SubElement(labels, tag)
    for name in dataset.class_names:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
    placed = place_images(dataset.records, folder / "images", link_images)
    for index, (record, name) in enumerate(placed):
        sides = {"width": str(record.width), "height": str(record.height)}
        image = ElementTree.SubElement(root, "image", id=str(index), name=name, **sides)
        for number, instance in without_crowds(record, losses):
            shapes = _shapes(instance, record, losses)
            group = {"group_id": str(number)} if len(shapes) > 1 else {}
            for kind, values in shapes:
                values |= {"label": dataset.class_names[instance.class_id], **group}
                ElementTree.SubElement(image, kind, values, occluded="0", z_order=str(number))
    ElementTree.indent(root)
    tree = ElementTree.ElementTree(root)
    tree.write(folder / FILE_NAME, encoding="utf-8", xml_declaration=True)
    return +losses


def _read_root(source):
    root = read_xml(source)
    if root.tag == "annotations" and root.find("track") is not None:
        raise ValueError(
            f"{source}: it has the tracks of CVAT for video: export the task as "
            '"CVAT for images 1.1".'
        )
    if root.tag != "annotations" or root.find("image") is None:
        raise ValueError(f"{source}: not a file of CVAT for images: it has no <image>.")
    return root


def _labels(root):
    """The labels that can have an area, in the order of the file."""
    for label in root.iterfind("meta//labels/label"):
        name = (label.findtext("name") or "").strip()
        if name and label.findtext("type") not in NO_AREAS and label.find("parent") is None:
            yield name


def _file_name(element):
    """The name of an image, in the folder of its subset."""
    name, subset = element.get("name", ""), element.get("subset")
    return f"{subset}/{name}" if subset else name


def _picture(element, finder):
    """The file of an image and its (height, width), which has to be what the XML file says."""
    if not element.get("name"):
        raise ValueError("has no name")
    name = _file_name(element)
    path = finder.find(name)
    if path is None:
        raise ValueError(f"there is no image file {finder.describe(name)}")
    size = image_size(path)
    said = (pixels(element.get(side, own), side) for side, own in zip(SIDES, size, strict=True))
    if tuple(said) != size:
        raise ValueError(
            f"{path} is {size[1]}x{size[0]}, but its width and height are "
            f"{element.get('width')}x{element.get('height')}"
        )
    return path, size


def _describe(shape):
    """The label of a shape, and the group of the object that it is a part of; None of a tag."""
    if shape["kind"] == "tag":
        return None
    group = shape.get("group_id")
    return class_name(shape.get("label"), "label"), None if group in ("", "0") else group


def _segmentation(shapes, size):
    return combine_parts([_part(shape, size) for shape in shapes], size)


def _part(shape, size):
    """One shape as a polygon `[x, y, x, y, ...]`, or as a mask (H, W)."""
    kind = shape["kind"]
    if kind == "polygon":
        return np.ravel(_points(shape)).tolist()
    if kind == "polyline":
        points = _points(shape)
        if len(points) < 4 or points[0] != points[-1]:
            raise ValueError("a polyline that does not end where it begins encloses nothing")
        return np.ravel(points[:-1]).tolist()
    if kind == "box":
        corners = _numbers(shape, "xtl", "ytl", "xbr", "ybr")
        return _turned(rectangle_polygon(*corners), _angle(shape))
    if kind == "ellipse":
        x, y, *radii = _numbers(shape, "cx", "cy", "rx", "ry")
        return ellipse_polygon((x, y), tuple(radii), _angle(shape))
    if kind == "mask":
        return _mask(shape, size)
    raise ValueError(f"a {kind!r} encloses nothing")


def _points(shape):
    try:
        pairs = [pair.split(",") for pair in shape["points"].split(";")]
        return [(float(x), float(y)) for x, y in pairs]
    except (KeyError, ValueError) as error:
        what = f"{shape.get('points', '')!r:.80}"
        raise ValueError(f"points must be like 1.5,2;3,4;5,6, got {what}") from error


def _numbers(shape, *names):
    missing = [name for name in names if name not in shape]
    if missing:
        raise ValueError(f"a {shape['kind']} needs {', '.join(missing)}")
    return [float(shape[name]) for name in names]


def _angle(shape):
    return math.radians(float(shape.get("rotation", 0)))


def _turned(polygon, angle):
    """A polygon turned about its centre, from x towards y."""
    points = np.reshape(polygon, (-1, 2))
    centre = points.mean(0)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return ((points - centre) @ turn + centre).ravel().tolist() if angle else polygon


def _mask(shape, size):
    missing = [name for name in ("rle", "left", "top", "width", "height") if name not in shape]
    if missing:
        raise ValueError(f"a mask needs {', '.join(missing)}")
    left, top, width, height = (int(shape[name]) for name in ("left", "top", "width", "height"))
    runs = [int(run) for run in shape["rle"].split(",")]
    if width < 1 or height < 1 or width > size[1] or height > size[0]:
        raise ValueError(f"its mask of {width}x{height} does not fit the image {size[1]}x{size[0]}")
    if min(runs) < 0 or sum(runs) != width * height:
        raise ValueError(f"the runs of its mask add up to {sum(runs)}, not {width}x{height}")
    values = np.repeat(np.arange(len(runs)) % 2, runs)
    return paste_mask(values.reshape(height, width), left, top, size)


def _shapes(instance, record, losses):
    """An object as CVAT's shapes: the kind and the attributes of each."""
    if instance.segmentation is None:
        losses["objects without a mask, written as rectangles"] += 1
        names = ("xtl", "ytl", "xbr", "ybr")
        return [("box", {n: repr(v) for n, v in zip(names, instance.box, strict=True)})]
    if isinstance(instance.segmentation, list):
        return [("polygon", {"points": _text(polygon)}) for polygon in instance.segmentation]
    mask = full_mask(instance, record, losses)
    return [] if mask is None else [("mask", _runs(mask))]


def _text(polygon):
    return ";".join(f"{x!r},{y!r}" for x, y in np.reshape(polygon, (-1, 2)).tolist())


def _runs(mask):
    """A mask (H, W) that is not empty as the attributes of a `<mask>`."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    patch = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    values = patch.ravel()
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    runs = np.diff([0, *changes, len(values)]).tolist()
    runs = [0, *runs] if values[0] else runs
    place = {"left": left, "top": top, "width": patch.shape[1], "height": patch.shape[0]}
    return {"rle": ", ".join(map(str, runs)), **{name: str(v) for name, v in place.items()}}
