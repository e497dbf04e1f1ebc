"""Files of each format, changed at random: what can be read is right, what cannot is said.

Bytes, values, types, nesting, keys and their order are changed in files that the formats' own
writers made. A reader then raises a ValueError or OSError that names a file, or what it gives is
sound: boxes within the picture, masks of its size, and each annotation is among the objects or the
problems. Where a few lines here can tell what a file says, the reader says the same.
"""

import base64
import io
import itertools
import json
import math
import pathlib
import random
import re
import resource
import shutil
import time
import warnings
import zlib
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import yaml

from keras_maskrcnn.data import Dataset
from keras_maskrcnn.data.formats import FORMATS
from keras_maskrcnn.data.formats.convert import convert
from keras_maskrcnn.data.formats.shared.serialization import parse_record
from keras_maskrcnn.data.formats.tfrecord import StoredRecords
from keras_maskrcnn.data.masks import broken_masks, decode_mask, encode_mask, rasterize
from keras_maskrcnn.data.records import Contents, Instance, Record, load_image

MODULES = {module.NAME: module for module in FORMATS}
SIZES = {"a": (32, 32), "b": (24, 32), "c": (32, 20)}  # (height, width) of the pictures
CLASSES = ("cat", "dog", "sheep")
SECONDS, MEGABYTES = 20, 300  # far above what a read needs, also on a busy machine

# The files that are changed, what is opened, and how many changed ones the slow test reads.
FILES = {
    "coco": ("annotations.json",),
    "labelme": ("*.json",),
    "via": ("via_region_data.json",),
    "voc": ("class_names.txt", "SegmentationObject/*.png", "SegmentationClass/*.png"),
    "voc-colours": ("labelmap.txt", "SegmentationObject/*.png", "SegmentationClass/*.png"),
    "yolo": ("data.yaml", "labels/*.txt", "labels/*.txt"),
    "cvat": ("annotations.xml",),
    "supervisely": ("meta.json", "ds/ann/*.json", "ds/ann/*.json"),
    "mask-png": ("masks/*.png",),
    "tfrecord": ("index.json", "*.tfrecord"),
}
OPENED = {"coco": "annotations.json", "via": "via_region_data.json", "yolo": "data.yaml"}
OPENED |= {"cvat": "annotations.xml", "mask-png": "masks"}
READS = {"tfrecord": 1000}  # each of which builds a pipeline; records alone are read 20,000 times
MANY, FEW = 20_000, 150
DEEP = 50_000

ODD_TEXTS = (
    *("", " ", "7", "07", "-1", "1.5", "1e999", "nan", "inf", "abc", "null", "true", "\0", "\n"),
    *("٣", "é", "\ud800", "../x", "a.png", "/", "C:\\a.png", "a" * 5000, "1" * 5000, "#", ":"),
)
ODD_NUMBERS = (
    *(-1, 0, 1, 255, 2**31, 2**63, 10**400, -(10**400), 0.5, -0.0, 1e-300, 1e9, 1e308, -1e308),
    *(math.nan, math.inf, -math.inf),
)
ODD_VALUES = (*ODD_TEXTS, *ODD_NUMBERS, None, True, False, [], {}, [[]], [1], {"a": 1}, [None] * 9)


def disc(size, centre, radius):
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return ((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2 < radius**2).astype(np.uint8)


def instances(size):
    """A polygon between pixels, an object of two parts, and a ring."""
    ring = disc(size, (12, 15), 7) - disc(size, (12, 15), 3)
    segmentations = (
        [[2.25, 1.5, 11.75, 2.0, 8.5, 7.25]],
        [[13.0, 1.0, 18.0, 1.0, 18.0, 6.0], [13.0, 3.0, 15.0, 6.0, 13.0, 6.0]],
        encode_mask(ring),
    )
    boxes = ((2.25, 1.5, 11.75, 7.25), (13.0, 1.0, 18.0, 6.0), (5.0, 8.0, 19.0, 22.0))
    for class_id, (box, segmentation) in enumerate(zip(boxes, segmentations, strict=True)):
        area = float(decode_mask(segmentation, *size).sum())
        yield Instance(box, class_id, segmentation, False, area, class_id + 1)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder of each format, of the same three pictures."""
    root = tmp_path_factory.mktemp("sources")
    records = []
    for number, (name, size) in enumerate(SIZES.items(), 1):
        path = root / f"{name}.png"
        PIL.Image.fromarray(np.full((*size, 3), 40 * number, np.uint8)).save(path)
        records.append(Record(number, str(path), *size, tuple(instances(size))))
    dataset = Dataset(root, Contents(records, CLASSES))
    for name in FILES.keys() & MODULES.keys() - {"supervisely"}:
        convert(dataset, name, root / name)
    write_supervisely(records, root / "supervisely")
    write_colours(root / "voc", root / "voc-colours")
    return root


def write_supervisely(records, folder):
    for part in ("img", "ann"):
        (folder / "ds" / part).mkdir(parents=True)
    titles = [{"title": name, "shape": "polygon", "color": "#FF0000"} for name in CLASSES]
    (folder / "meta.json").write_text(json.dumps({"classes": titles, "tags": []}))
    for record in records:
        path = pathlib.Path(record.path)
        shutil.copy(path, folder / "ds" / "img" / path.name)
        outline = {"exterior": [[2, 3], [12, 3], [8, 9]], "interior": [[[7, 4], [9, 4], [8, 6]]]}
        ring = decode_mask(record.instances[2].segmentation, record.height, record.width)
        png = io.BytesIO()
        PIL.Image.fromarray(ring[8:22, 5:19] * 255).save(png, "PNG")
        data = base64.b64encode(zlib.compress(png.getvalue())).decode()
        corners = {"exterior": [[14, 1], [18, 6]], "interior": []}
        shapes = [
            {"classTitle": "cat", "geometryType": "polygon", "points": outline},
            {"classTitle": "dog", "geometryType": "rectangle", "points": corners},
            {"classTitle": "sheep", "geometryType": "bitmap"}
            | {"bitmap": {"data": data, "origin": [5, 8]}},
        ]
        content = {"size": {"height": record.height, "width": record.width}, "objects": shapes}
        (folder / "ds" / "ann" / f"{path.name}.json").write_text(json.dumps(content))


def write_colours(voc, folder):
    """The same as VOC's, with colours and a `labelmap.txt`."""
    shutil.copytree(voc, folder)
    (folder / "class_names.txt").unlink()
    lines = ["background:0,0,0::", "cat:128,0,0::", "dog:0,128,0:head,tail:", "sheep:128,128,0::"]
    (folder / "labelmap.txt").write_text("\n".join(["# label:color:parts:actions", *lines]))
    for png in folder.glob("Segmentation*/*.png"):
        PIL.Image.open(png).convert("RGB").save(png)


# Changes


def change_bytes(rng, data):
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((1, 1, 2, 8, 64)))
        kind = rng.randrange(5)
        if kind == 0 and start < len(data):
            flipped = data[start] ^ (1 << rng.randrange(8))
            data = data[:start] + bytes([flipped]) + data[start + 1 :]
        elif kind == 1:
            data = data[:start] + data[end:]
        elif kind == 2:
            data = data[:start] + rng.randbytes(rng.choice((1, 2, 8))) + data[start:]
        elif kind == 3:
            data = data[:end] + data[start:end] + data[end:]
        elif rng.random() < 0.3:
            data = data[:start]
    return data


def places(tree):
    """Each container of a tree with each of its keys or indices."""
    stack = [tree]
    while stack:
        node = stack.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, key
            if isinstance(node[key], dict | list):
                stack.append(node[key])


def odd(rng, value):
    """Another value: somewhat like it, or not at all."""
    number = type(value) in (int, float) and abs(value) < 1e300
    if number and rng.random() < 0.5:
        return rng.choice((-value, value + 1, value * 1000, value + 0.5, str(value), value * 0.99))
    if isinstance(value, str) and value and rng.random() < 0.4:
        start = rng.randrange(len(value))
        return value[:start] + rng.choice((*ODD_TEXTS, ",", ";")) + value[start + 1 :]
    return rng.choice(ODD_VALUES)


def change_tree(rng, tree):
    """The tree, changed; "@deep" and "@twice" stand for what only its text can hold."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        found = list(places(tree))
        if not found:
            break
        (node, key), (other, place) = rng.choice(found), rng.choice(found)
        kind = rng.randrange(12)
        if kind < 5:
            node[key] = odd(rng, node[key])
        elif kind == 5:
            del node[key]
        elif kind == 6:  # by way of text, so that no container is in itself
            texts = json.dumps(node[key]), json.dumps(other[place])
            node[key], other[place] = json.loads(texts[1]), json.loads(texts[0])
        elif kind == 7 and isinstance(node, list):
            node.insert(rng.randrange(len(node) + 1), json.loads(json.dumps(node[key])))
        elif kind == 8 and isinstance(node, dict):
            node[f"{key}@twice"] = odd(rng, node[key])
        elif kind == 9 and isinstance(node, dict):
            node[rng.choice((*ODD_TEXTS, f"{key}x"))] = node.pop(key)
        elif kind == 10:
            node[key] = rng.choice(([node[key]], {"a": node[key]}, [node[key], node[key]]))
        elif rng.random() < 0.1:
            node[key] = "@deep"
    return tree


def change_json(rng, data):
    text = json.dumps(change_tree(rng, json.loads(data)))
    opened, closed = rng.choice((("[", "]"), ('{"a":', "}")))
    text = text.replace('"@deep"', opened * DEEP + "1" + closed * DEEP)
    return text.replace("@twice", "").encode()


def change_yaml(rng, data):
    content = change_tree(rng, yaml.safe_load(data))
    return (
        yaml.dump(content, allow_unicode=True)
        .replace("@deep", "[" * 500)
        .encode("utf-8", "replace")
    )


def change_lines(rng, data):
    lines = data.decode().splitlines()
    for _ in range(rng.randint(1, 3)):
        if not lines:
            break
        index = rng.randrange(len(lines))
        parts = re.split(r"([\s,:]+)", lines[index])
        part = rng.randrange(len(parts))
        kind = rng.randrange(6)
        if kind < 3:
            numbers = (str(value) for value in ODD_NUMBERS)
            parts[part] = rng.choice((*ODD_TEXTS, *numbers, f"-{parts[part]}", f"{parts[part]}0"))
            lines[index] = "".join(parts)
        elif kind == 3:
            lines[index] = "".join(parts[:part] + parts[part + 2 :])
        elif kind == 4:
            lines.insert(rng.randrange(len(lines)), lines[index])
        else:
            del lines[index]
    return "\n".join(lines).encode("utf-8", "replace")


def change_xml(rng, data):
    root = ElementTree.fromstring(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        elements = list(root.iter())
        element, other = rng.choice(elements), rng.choice(elements)
        kind = rng.randrange(9)
        if kind < 5 and element.attrib:
            name = rng.choice(list(element.attrib))
            element.set(name, str(odd(rng, element.get(name))))
            if kind == 4:
                del element.attrib[name]
        elif kind == 5:
            element.tag = rng.choice(("polygon", "box", "mask", "ellipse", "image", "label", "x"))
        elif kind == 6 and len(element):
            element.remove(rng.choice(list(element)))
        elif kind == 7:
            other.append(ElementTree.fromstring(ElementTree.tostring(element)))
        elif kind == 8:
            element.text = str(odd(rng, element.text))
    text = ElementTree.tostring(root)
    deep = b"<a>" * 5000 + b"</a>" * 5000
    return text.replace(b"</image>", deep + b"</image>") if rng.random() < 0.01 else text


def change_png(rng, data):
    """Other pixels, sizes, modes and kinds of pictures."""
    picture = PIL.Image.open(io.BytesIO(data))
    kind = rng.randrange(8)
    if kind == 0:
        picture = picture.convert(rng.choice(("1", "L", "LA", "RGB", "RGBA", "P", "I")))
    elif kind == 1:
        picture = picture.resize((rng.randint(1, 90), rng.randint(1, 90)), rng.randrange(2))
    elif kind == 2:
        picture = picture.transpose(rng.randrange(7))
    else:
        values = np.array(picture)
        generator = np.random.default_rng(rng.randrange(2**32))
        chosen = generator.random(values.shape) < rng.choice((0.001, 0.1, 1))
        values[chosen] = generator.integers(0, 256, chosen.sum())
        dtype = (
            rng.choice((np.uint8, np.uint8, np.uint16, np.int32)) if values.ndim == 2 else np.uint8
        )
        picture = PIL.Image.fromarray(values.astype(dtype) * rng.choice((1, 1, dtype(255))))
    file = io.BytesIO()
    if kind == 3 and picture.mode in ("L", "RGB"):
        picture.save(file, rng.choice(("JPEG", "BMP", "GIF", "TIFF")))
        return file.getvalue()
    picture.save(file, "PNG")
    data = file.getvalue()
    if kind == 4:  # another width or height or kind of pixels in the header, with its checksum
        place = rng.randrange(16, 26)
        header = data[12:place] + rng.randbytes(1) + data[place + 1 : 29]
        data = data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]
    return data


def change_example(rng, serialized):
    """A serialized record with other features."""
    example = tf.train.Example.FromString(serialized)
    features = example.features.feature
    for _ in range(rng.randint(1, 3)):
        name, other = rng.choice(sorted(features)), rng.choice(sorted(features))
        kind = rng.randrange(5)
        if kind == 0:
            del features[name]
            if not features:
                break
        elif kind == 1:
            features[name].CopyFrom(features[other])
        elif kind == 2:
            features[name].CopyFrom(rng.choice(FEATURES))
        else:
            values = getattr(
                features[name], features[name].WhichOneof("kind") or "bytes_list"
            ).value
            if kind == 3 and values:
                index = rng.randrange(len(values))
                old = values[index]
                if isinstance(old, bytes):
                    values[index] = change_bytes(rng, old)
                else:
                    values[index] = rng.choice((-1, 0, 1, 7, 2**31, 2**62))
            elif values:
                del values[rng.randrange(len(values))]
    return example.SerializeToString()


FEATURES = [
    tf.train.Feature(),
    tf.train.Feature(bytes_list=tf.train.BytesList(value=[])),
    tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"NaN"])),
    tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"[1]", b"", b"\xff"])),
    tf.train.Feature(int64_list=tf.train.Int64List(value=[-1])),
    tf.train.Feature(int64_list=tf.train.Int64List(value=[2**62, 0])),
    tf.train.Feature(float_list=tf.train.FloatList(value=[math.nan, math.inf, -1, 1e30])),
]


def change_tfrecord(rng, data):
    """The record of a file with other features, and the checksums that it has then."""
    serialized = change_example(rng, serialized_in(data))
    length = len(serialized).to_bytes(8, "little")
    return length + checksum(length) + serialized + checksum(serialized)


def serialized_in(data):
    """The first record of a TFRecord file."""
    return data[12 : 12 + int.from_bytes(data[:8], "little")]


def checksum(data):
    """The masked CRC32C of TFRecord files."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def _crc_table():
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        yield value


CRC_TABLE = list(_crc_table())
CHANGES = {
    ".json": change_json,
    ".yaml": change_yaml,
    ".txt": change_lines,
    ".xml": change_xml,
    ".png": change_png,
    ".tfrecord": change_tfrecord,
}


# What must hold


def check_record(record, class_ids):
    """That a record's objects are sound, or that its picture cannot be loaded, which is said."""
    assert type(record.height) is type(record.width) is int
    try:
        image = load_image(record)
    except (ValueError, OSError):
        return
    height, width = image.shape[:2]
    broken = broken_masks(record)
    for index, instance in enumerate(record.instances):
        x0, y0, x1, y1 = instance.box
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert type(instance.class_id) is int
        assert instance.class_id in class_ids
        assert type(instance.crowd) is bool
        assert math.isfinite(instance.area)
        assert instance.area >= 0
        assert isinstance(instance.annotation_id, int | str | None)
        if index not in broken:  # which is said when it is decoded, as reading does not
            check_mask(instance, height, width)


def check_mask(instance, height, width):
    segmentation = instance.segmentation
    if segmentation is None:
        return
    mask = decode_mask(segmentation, height, width)
    assert mask.shape == (height, width)
    assert mask.max() <= 1
    # Polygons can be smaller than a pixel; of TFRecords the mask to train on is packed.
    assert mask.any() or isinstance(segmentation, list) or instance.packed_mask
    cells = rasterize(segmentation, instance.box, height, width, 28)
    assert cells.shape == (28, 28)


def check_contents(contents, folder):
    assert all(isinstance(name, str) for name in contents.class_names)
    records = list(contents.records)
    # The records of TFRecords are read one by one, without the classes.
    stored = isinstance(contents.records, StoredRecords)
    class_ids = range(2**63 if stored else len(contents.class_names))
    for record in records:
        check_record(record, class_ids)
    for problem in contents.problems:
        assert str(folder) in problem.where or stored
        assert problem.what
        assert str(problem).encode("utf-8", "surrogatepass")
    return records


def read(name, folder):
    """What the format's reader finds in a folder, None if it refuses it naming a file."""
    module = MODULES[name.removesuffix("-colours")]
    path = folder / OPENED.get(name, ".")
    try:
        module.recognise(path, None)
        contents = module.read(path)
        records = check_contents(contents, folder)
    except (ValueError, OSError) as error:
        if str(folder) not in str(error):
            raise AssertionError("the error names no file") from error
        return None
    if name in SAID:
        SAID[name](path, contents, records)
    return contents, len(contents.problems)


# What a file says, as a few lines find it: each annotation must be read or listed, and what is
# plain must be read as it is.


def plain(value):
    """Whether it is a number that a picture of up to 100 pixels has."""
    return type(value) in (int, float) and abs(value) < 100


def label_text(value):
    whole = plain(value) and value == int(value)
    return str(int(value)) if whole else str(value).strip()


def outline_of(polygons, size):
    """The box of polygons of plain numbers, if it lies in the picture; else None."""
    points = np.reshape(list(itertools.chain(*polygons)), (-1, 2))
    box = *points.min(0), *points.max(0)
    inside = 0 <= box[0] < box[2] <= size[1] and 0 <= box[1] < box[3] <= size[0]
    return box if inside and max(box) > 1 else None


def is_polygon(values):
    return (
        isinstance(values, list)
        and len(values) >= 6
        and len(values) % 2 == 0
        and all(map(plain, values))
    )


def same(instance, polygons):
    np.testing.assert_allclose(instance.segmentation, polygons, atol=1e-9)
    assert polygons


def coco_said(path, contents, records):
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    read_ids = Counter(i.annotation_id for record in records for i in record.instances)
    listed = sum(problem.lost == "annotation" for problem in contents.problems)
    images = {str(record.image_id) for record in records}
    elsewhere = sum(
        isinstance(a, dict) and str(a.get("image_id")).removesuffix(".0").strip() not in images
        for a in content["annotations"]
    )
    found = sum(read_ids.values()) + listed
    assert found <= len(content["annotations"]) <= found + elsewhere
    noted = {problem.annotation_id for problem in contents.problems}
    by_id = {}
    for annotation in content["annotations"]:
        if isinstance(annotation, dict) and type(annotation.get("id")) in (int, float):
            by_id.setdefault(annotation["id"], []).append(annotation)
    names = {}
    for category in content["categories"]:
        if isinstance(category["name"], str) or plain(category["name"]):
            names[str(category["id"])] = label_text(category["name"])
    for record in records:
        for instance in record.instances:
            (annotation, *others) = by_id.get(instance.annotation_id, [None])
            if annotation is None or others or instance.annotation_id in noted:
                continue
            if type(annotation["category_id"]) is int and len(names) == len(content["categories"]):
                said = names.get(str(annotation["category_id"]))
                assert said is None or contents.class_names[instance.class_id] == said
            segmentation = annotation.get("segmentation")
            if (
                isinstance(segmentation, list)
                and segmentation
                and all(map(is_polygon, segmentation))
            ):
                same(instance, segmentation)
            box = annotation.get("bbox")
            if isinstance(box, list) and all(map(plain, box)) and len(box) == 4:
                x, y, w, h = box
                clipped = max(x, 0), max(y, 0), min(x + w, record.width), min(y + h, record.height)
                assert instance.box == pytest.approx(clipped)


def grouped_said(contents, records, image, shapes, kind, key_of):
    """That each shape of an image is a part of an object, or listed, or no object at all.

    `image` is what its problems begin with and what its annotation ids begin with.
    """
    where, name = image
    listed = {problem.where for problem in contents.problems if problem.lost == "annotation"}
    ids = {instance.annotation_id for record in records for instance in record.instances}
    first = {}
    for index, shape in enumerate(shapes):
        try:
            key = key_of(shape)
        except (AttributeError, KeyError, TypeError):
            assert f"{where} {kind}[{index}]" in listed
            continue
        if key is None or f"{where} {kind}[{index}]" in listed and key[1] is None:
            continue
        label, group = key
        start = first.setdefault((label, str(group)), index) if group is not None else index
        known = f"{name} {kind}[{start}]"
        places = {f"{where} {kind}[{start}]", f"{where} {kind}[{index}]"}
        assert known in ids or places & listed, f"{kind}[{index}] is lost"


def objects_of_image(contents, records, image, shapes, kind, size):
    """Compares objects of one shape with what `plain_shape` gives: class name, polygon or mask."""
    _, name = image
    by_id = {i.annotation_id: i for record in records for i in record.instances}
    noted = {problem.annotation_id for problem in contents.problems}
    for index, (label, part) in enumerate(shapes):
        known = f"{name} {kind}[{index}]"
        if part is None or known not in by_id or known in noted:
            continue
        instance = by_id[known]
        assert contents.class_names[instance.class_id] == label
        if isinstance(part, np.ndarray):
            np.testing.assert_array_equal(decode_mask(instance.segmentation, *size), part)
        else:
            same(instance, [part])
            box = outline_of([part], size)
            assert box is None or instance.box == pytest.approx(box)


def left_out(contents, where):
    return any(problem.lost == "image" and problem.where == where for problem in contents.problems)


def labelme_said(folder, contents, records):
    for file in folder.glob("*.json"):
        if left_out(contents, str(file)):
            continue
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        image = f"{file}:", file.name
        ignored = ("__ignore__", "_background_")

        def key_of(shape, ignored=ignored):
            label = label_text(shape["label"])
            return None if label in ignored else (label, shape.get("group_id"))

        grouped_said(contents, records, image, content["shapes"], "shapes", key_of)
        size = SIZES[file.stem]
        shapes = [labelme_shape(shape, size) for shape in content["shapes"]]
        objects_of_image(contents, records, image, shapes, "shapes", size)


def labelme_shape(shape, size):
    """The label and the polygon or mask of a shape that stands alone; else None."""
    if not isinstance(shape, dict) or shape.get("group_id") is not None:
        return None, None
    points = shape.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        return None, None
    values = list(itertools.chain(*points))
    label = label_text(shape.get("label"))
    if shape.get("shape_type") == "polygon" and is_polygon(values):
        return label, values
    if shape.get("shape_type") == "mask" and len(values) == 4 and all(map(plain, values)):
        try:
            patch = np.array(PIL.Image.open(io.BytesIO(base64.b64decode(shape["mask"]))))
        except (OSError, ValueError, TypeError, KeyError, SyntaxError):
            return label, None
        mask = np.zeros(size, np.uint8)
        left, top = (int(np.round(value)) for value in values[:2])
        target = mask[top : top + len(patch), left : left + patch.shape[1]]
        target[:] = patch[: len(target), : target.shape[1]] > 0
        return label, mask
    return label, None


def via_said(path, contents, records):
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    for key, entry in content.get("_via_img_metadata", content).items():
        where = f"{path}: {key}"
        if left_out(contents, where):
            continue
        regions = entry["regions"]
        regions = list(regions.values()) if isinstance(regions, dict) else regions

        def key_of(region):
            attributes = region.get("region_attributes")
            if not isinstance(attributes, dict):
                return "object", None
            return label_text(attributes.get("class", "")), attributes.get("group_id")

        grouped_said(contents, records, (where, key), regions, "regions", key_of)


def supervisely_said(folder, contents, records):
    for file in (folder / "ds" / "ann").glob("*.json"):
        if not left_out(contents, str(file)):
            content = json.loads(file.read_text(encoding="utf-8-sig"))

            def key_of(shape):
                return label_text(shape["classTitle"]), shape.get("instance")

            image = f"{file}:", file.name
            grouped_said(contents, records, image, content["objects"], "objects", key_of)


def cvat_said(path, contents, records):
    root = ElementTree.parse(path).getroot()
    names = [element.get("name") for element in root.iter("image")]
    for index, element in enumerate(root.findall("image")):
        where = f"{path}: image[{index}]"
        if left_out(contents, where):
            continue
        subset, name = element.get("subset"), element.get("name")
        image = where, f"{subset}/{name}" if subset else name

        def key_of(shape):
            group = shape.get("group_id")
            label = shape.get("label").strip()
            return None if shape.tag == "tag" else (label, None if group in ("", "0") else group)

        grouped_said(contents, records, image, list(element), "shape", key_of)
        if names.count(name) == 1 and name.removesuffix(".png") in SIZES:
            size = SIZES[name.removesuffix(".png")]
            shapes = [cvat_shape(shape, size) for shape in element]
            objects_of_image(contents, records, image, shapes, "shape", size)


def cvat_shape(shape, size):
    if shape.get("group_id") not in (None, "0", ""):
        return None, None
    label = (shape.get("label") or "").strip()
    try:
        if shape.tag == "polygon":
            values = [float(v) for pair in shape.get("points").split(";") for v in pair.split(",")]
            return label, values if is_polygon(values) else None
        if shape.tag == "mask":
            left, top, width, height = (
                int(shape.get(name)) for name in ("left", "top", "width", "height")
            )
            if not 0 < width <= 32 or not 0 < height <= 32:
                return label, None
            runs = [int(run) for run in shape.get("rle").split(",")]
            values = []
            for number, run in enumerate(runs):
                values += [number % 2] * min(run, 2000)
            mask = np.zeros(size, np.uint8)
            mask[top : top + height, left : left + width] = np.reshape(values, (height, width))
            return label, mask
    except (ValueError, AttributeError, TypeError, OverflowError):
        pass
    return label, None


def yolo_said(path, contents, records):
    listed = {p.where for p in contents.problems if p.lost == "annotation"}
    noted = {p.where for p in contents.problems if not p.lost}
    names = yaml.load(path.read_text(encoding="utf-8-sig"), yaml.BaseLoader)["names"]
    names = dict(enumerate(names)) if isinstance(names, list) else names
    names = {int(number): name for number, name in names.items()}
    for record in records:
        label = path.parent / "labels" / f"{pathlib.Path(record.path).stem}.txt"
        rows = label.read_text(encoding="utf-8-sig").splitlines() if label.is_file() else []
        by_id = {instance.annotation_id: instance for instance in record.instances}
        for number, row in enumerate(rows, 1):
            where, known = f"{label}: row {number}", f"{label.name} row {number}"
            assert not row.strip() or known in by_id or where in listed
            if known in by_id and where not in noted:
                class_id, *values = map(float, row.split())
                name = names[int(class_id)]
                assert contents.class_names[by_id[known].class_id] == str(name).strip()
                if len(values) > 4:
                    polygon = np.reshape(values, (-1, 2)) * (record.width, record.height)
                    same(by_id[known], [polygon.ravel().round(6).tolist()])


SAID = {
    "coco": coco_said,
    "labelme": labelme_said,
    "via": via_said,
    "supervisely": supervisely_said,
    "cvat": cvat_said,
    "yolo": yolo_said,
}


def fuzz(name, sources, folder, number, seed):
    """Reads a format's folder with each of `number` changed files; gives how often it ended how.

    Returns:
        How many were refused, read with problems and read whole, and the longest time in seconds.
    """
    shutil.copytree(sources / name, folder, dirs_exist_ok=True)
    files = [sorted(folder.glob(pattern)) for pattern in FILES[name]]
    whole = {file: file.read_bytes() for group in files for file in group}
    ends, longest = Counter(), 0.0
    for index in range(number):
        rng = random.Random(f"{name} {seed} {index}")
        file = rng.choice(rng.choice(files))
        change = change_bytes if rng.random() < 0.25 else CHANGES[file.suffix]
        changed = change(rng, whole[file])
        file.write_bytes(changed)
        memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, in pycocotools
                warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
                found = read(name, folder)
            seconds = time.perf_counter() - start
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
            assert seconds < SECONDS, f"{seconds:.1f} s"
            assert grown < MEGABYTES, f"{grown:.0f} MB"
        except Exception as error:
            text = f"{name}, seed {seed}, number {index}, {file.name}: {changed[:3000]!r}"
            raise AssertionError(f"{error!r:.1000}\n{text}") from error
        finally:
            file.write_bytes(whole[file])
        longest = max(longest, seconds)
        problems = None if found is None else found[1]
        ends["refused" if problems is None else "with problems" if problems else "whole"] += 1
    return ends, longest


@pytest.mark.parametrize("name", FILES)
def test_changed_files(name, sources, tmp_path):
    number = 10 if name == "tfrecord" else FEW
    ends, _ = fuzz(name, sources, tmp_path / "changed", number, 0)
    assert sum(ends.values()) == number


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_changed_files(name, sources, tmp_path):
    number = READS.get(name, MANY)
    ends, _ = fuzz(name, sources, tmp_path / "changed", number, 1)
    assert sum(ends.values()) == number
    assert all(ends[end] > number // 100 for end in ("refused", "with problems", "whole"))


def fuzz_records(sources, number, seed):
    """Parses `number` changed records of TFRecord files; gives how many ended how."""
    shards = sorted((sources / "tfrecord").glob("*.tfrecord"))
    serialized = [serialized_in(shard.read_bytes()) for shard in shards]
    ends = Counter()
    for index in range(number):
        rng = random.Random(f"record {seed} {index}")
        change = change_bytes if rng.random() < 0.25 else change_example
        changed = change(rng, rng.choice(serialized))
        try:
            try:
                record = parse_record(changed)
            except ValueError:
                ends["refused"] += 1
                continue
            check_record(record, range(2**63))
            ends["whole"] += 1
        except Exception as error:
            text = f"seed {seed}, number {index}: {changed[:2000]!r}"
            raise AssertionError(f"{error!r:.1000}\n{text}") from error
    return ends


def test_changed_records(sources):
    assert sum(fuzz_records(sources, 500, 0).values()) == 500


@pytest.mark.slow
def test_many_changed_records(sources):
    ends = fuzz_records(sources, MANY, 1)
    assert min(ends["refused"], ends["whole"]) > MANY // 100
