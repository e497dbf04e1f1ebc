"""What the readers' tests share: a COCO file, and of the fuzz tests the files and their changes."""

import base64
import copy
import io
import json
import math
import pathlib
import random
import re
import shutil
import zlib
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import yaml

from keras_maskrcnn.data import CocoDataset, Dataset
from keras_maskrcnn.data.formats.convert import WRITERS, convert
from keras_maskrcnn.data.masks import decode_mask, encode_mask
from keras_maskrcnn.data.records import Contents, Instance, Record

PICTURES = {"a": (32, 32), "b": (24, 32), "c": (32, 20)}  # (height, width)
CLASSES = ("cat", "dog", "sheep")
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
    for number, (name, size) in enumerate(PICTURES.items(), 1):
        path = root / f"{name}.png"
        PIL.Image.fromarray(np.full((*size, 3), 40 * number, np.uint8)).save(path)
        records.append(Record(number, str(path), *size, tuple(instances(size))))
    dataset = Dataset(root, Contents(records, CLASSES))
    for name in WRITERS:
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
            other.append(copy.deepcopy(element))
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
        dtype = rng.choice((np.uint8, np.uint16)) if values.ndim == 2 else np.uint8
        picture = PIL.Image.fromarray(values.astype(dtype) * rng.choice((1, 1, dtype(255))))
    if picture.mode == "I":  # Pillow writes 16 bits of it, and only for as long as it must
        picture = PIL.Image.fromarray(np.array(picture).astype(np.uint16))
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


@pytest.fixture(scope="session")
def change():
    """A function of a `random.Random`, the name of a file and its bytes, that gives other bytes."""

    def changed(rng: random.Random, name: str, data: bytes) -> bytes:
        if rng.random() < 0.25:
            return change_bytes(rng, data)
        return CHANGES[pathlib.PurePath(name).suffix](rng, data)

    return changed


@pytest.fixture
def content():
    """Two images and their objects; category ids with holes."""
    square = [[2.0, 2.0, 12.0, 2.0, 12.0, 12.0, 2.0, 12.0]]
    annotation = {"image_id": 7, "bbox": [2, 2, 10, 10], "area": 100, "iscrowd": 0}
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "height": 20, "width": 30},
            {"id": 3, "file_name": "b.png", "height": 24, "width": 16},
        ],
        "annotations": [
            {**annotation, "id": 1, "category_id": 90, "segmentation": square},
            {**annotation, "id": 2, "category_id": 5, "segmentation": square},
        ],
        "categories": [{"id": 90, "name": "cat"}, {"id": 5, "name": "dog"}],
    }


@pytest.fixture
def load_coco():
    """A function: the dataset of a COCO file's content, whose pictures are grey, in a folder."""

    def load(folder, content, **kwargs):
        for info in content["images"]:
            if isinstance(info.get("height"), int):
                image = np.full((info["height"], info["width"], 3), 90, np.uint8)
                PIL.Image.fromarray(image).save(folder / info["file_name"])
        path = folder / "annotations.json"
        path.write_text(json.dumps(content))
        return CocoDataset(path, folder, **kwargs)

    return load
