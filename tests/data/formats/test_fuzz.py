"""Files of each format, changed at random: what can be read is right, what cannot is said.

Bytes, values, types, nesting, keys and their order are changed in files that the formats' own
writers made. A reader then raises a ValueError or OSError that names a file, or what it gives is
sound: boxes within the picture, masks of its size, and each annotation is among the objects or the
problems. Where a few lines here can tell what a file says, the reader says the same.

More changes, others than those of the slow tests:

    FUZZ_CHANGES=20000 FUZZ_SEED=2 python -m pytest -s -m slow tests/data/formats/test_fuzz.py
"""

import base64
import functools
import io
import itertools
import json
import math
import os
import pathlib
import pickle
import random
import resource
import shutil
import time
import warnings
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
import yaml

from keras_maskrcnn.data.formats import FORMATS
from keras_maskrcnn.data.formats.shared.serialization import parse_record
from keras_maskrcnn.data.formats.tfrecord import StoredRecords
from keras_maskrcnn.data.masks import broken_masks, decode_mask, rasterize
from keras_maskrcnn.data.records import load_image

MODULES = {module.NAME: module for module in FORMATS}
SECONDS, MEGABYTES = 20, 300  # of the processor and of memory: far above what a read needs

# The files of each format that are changed, and what is opened.
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
FEW, MANY = 150, int(os.environ.get("FUZZ_CHANGES", 2_000))
SEED = int(os.environ.get("FUZZ_SEED", 1))


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


@functools.lru_cache(1000)
def check_once(pickled, class_count):
    """`check_record`, but of those that an earlier change left as they were: most of them."""
    check_record(pickle.loads(pickled), range(class_count))


def check_contents(contents, folder):
    assert all(isinstance(name, str) for name in contents.class_names)
    records = list(contents.records)
    # What was wrong when TFRecords were written is told with the names of then.
    stored = isinstance(contents.records, StoredRecords)
    for record in records:
        check_once(pickle.dumps(record), len(contents.class_names))
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
    whole = type(value) is int or type(value) is float and value.is_integer()
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
    assert polygons
    for ours, said in zip(instance.segmentation, polygons, strict=True):
        np.testing.assert_allclose(ours, said, atol=1e-9)


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


def size_of(path):
    """The height and width of a picture."""
    with PIL.Image.open(path) as picture:
        return picture.size[::-1]


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
        size = size_of(file.with_suffix(".png"))
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
        picture = path.parent / "images" / name
        if names.count(name) == 1 and picture.is_file():
            size = size_of(picture)
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


def fuzz(name, sources, change, folder, number, seed):
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
        changed = change(rng, file.name, whole[file])
        file.write_bytes(changed)
        memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, in pycocotools
                warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
                found = read(name, folder)
            seconds = time.process_time() - start
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
def test_changed_files(name, sources, change, tmp_path):
    number = 10 if name == "tfrecord" else FEW
    ends, _ = fuzz(name, sources, change, tmp_path / "changed", number, 0)
    assert sum(ends.values()) == number


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_changed_files(name, sources, change, tmp_path):
    # Each read of TFRecords builds a pipeline; records alone are read in a test of their own.
    number = MANY // 10 if name == "tfrecord" else MANY
    ends, _ = fuzz(name, sources, change, tmp_path / "changed", number, SEED)
    assert sum(ends.values()) == number
    print(name, dict(ends))
    # Where a file is one picture's, that picture is listed and the others are read.
    listed = name in ("labelme", "mask-png")
    ways = ("with problems", "whole") if listed else ("refused", "with problems", "whole")
    assert all(ends[end] > number // 100 for end in ways)


def fuzz_records(sources, change, number, seed):
    """Parses `number` changed records of TFRecord files; gives how many ended how."""
    shards = sorted((sources / "tfrecord").glob("*.tfrecord"))
    whole = [shard.read_bytes() for shard in shards]
    ends = Counter()
    for index in range(number):
        rng = random.Random(f"record {seed} {index}")
        # Without its length and checksums, which a file has.
        changed = change(rng, "a.tfrecord", rng.choice(whole))[12:-4]
        try:
            try:
                record = parse_record(changed, 3)
            except ValueError:
                ends["refused"] += 1
                continue
            check_record(record, range(3))
            ends["whole"] += 1
        except Exception as error:
            text = f"seed {seed}, number {index}: {changed[:2000]!r}"
            raise AssertionError(f"{error!r:.1000}\n{text}") from error
    return ends


def test_changed_records(sources, change):
    assert sum(fuzz_records(sources, change, 500, 0).values()) == 500


@pytest.mark.slow
def test_many_changed_records(sources, change):
    ends = fuzz_records(sources, change, 10 * MANY, SEED)
    assert min(ends["refused"], ends["whole"]) > MANY // 10
