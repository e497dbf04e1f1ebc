"""Through every format and back: nothing changes but what a format says that it cannot hold."""

from collections import Counter

import cv2
import numpy as np
import PIL.Image
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.data import open_dataset
from keras_maskrcnn.data.formats import FORMATS
from keras_maskrcnn.data.formats.convert import WRITERS, convert
from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.records import Contents, Instance, Record

# What is lost of shapes that hide each other, with holes, of several classes; other formats must
# hold them to the last pixel.
LIMITS = {"mask-png": "objects that lose their class"}
# Formats of pixels, whose boxes end where pixels do; all others hold fractions of them.
PIXELS = ("voc", "mask-png")
READ_ONLY = {"supervisely"}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    dataset = km.data.shapes.generate(folder, 4, 96, class_names=("cross", "ring"))
    masks = [mask for i in range(len(dataset)) for mask in dataset.example(i)["masks"]]
    trees = [cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, 1)[1] for mask in masks]
    assert any((tree[..., 3] >= 0).any() for tree in trees)  # a contour within another: a hole
    return dataset


@pytest.fixture(scope="module")
def written(shapes, tmp_path_factory):
    """The shapes in each format, and what was lost of them."""
    root = tmp_path_factory.mktemp("written")
    losses = {name: convert(shapes, name, root / name) for name in WRITERS}
    return {name: (open_dataset(root / name), losses[name]) for name in WRITERS}


def objects(dataset, classes=True):
    """The objects of each image: how often there is which mask of which class."""
    images = {}
    for record in dataset.records:
        counts = images[record.read_image().tobytes()] = Counter()
        for instance in record.instances:
            mask = decode_mask(instance.segmentation, record.height, record.width)
            name = dataset.class_names[instance.class_id] if classes else None
            counts[name, mask.tobytes()] += 1
    return images


def test_all_formats_are_written_but_those_that_are_named():
    assert {module.NAME for module in FORMATS} == set(WRITERS) | READ_ONLY


@pytest.mark.parametrize("target", WRITERS)
@pytest.mark.parametrize("source", WRITERS)
def test_through_a_format_and_back(source, target, shapes, written, tmp_path):
    dataset, losses = written[source]
    losses = Counter(losses)
    for step, name in (("there", target), ("back", source)):
        losses += Counter(convert(dataset, name, tmp_path / step))
        dataset = open_dataset(tmp_path / step)
        assert [str(problem) for problem in dataset.problems] == []
    classes = not {source, target} & LIMITS.keys()
    assert objects(dataset, classes) == objects(shapes, classes)
    total = sum(len(record.instances) for record in shapes.records)
    assert losses == ({} if classes else {LIMITS["mask-png"]: total})


def stars(folder):
    """An image of stars of many points, at any places between pixels; one of two parts."""
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 256, (90, 130, 3), np.uint8)).save(folder / "a.png")
    polygons = []
    for centre in [(22.37, 23.82), (64.94, 21.28), (104.2, 24.1), (31.66, 67.4), (100.4, 66.6)]:
        turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radii = rng.uniform(6, 18, 24)[:, None]
        points = centre + radii * np.stack([np.cos(turns), np.sin(turns)], 1)
        polygons.append(points.ravel().tolist())
    groups = [[polygons[0], polygons[1]], *([polygon] for polygon in polygons[2:])]
    instances = []
    for class_id, group in enumerate(groups):
        points = np.reshape(np.concatenate(group), (-1, 2))
        box = (*points.min(0).tolist(), *points.max(0).tolist())
        instances.append(Instance(box, class_id % 2, group))
    record = Record(1, str(folder / "a.png"), 90, 130, tuple(instances))
    return km.data.Dataset(folder, Contents([record], ("even", "odd")))


def pixel_box(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@pytest.mark.parametrize("target", WRITERS)
def test_polygons_between_pixels(target, tmp_path):
    """At the image's size every format has the same pixels; boxes are pixels' or the polygon's."""
    dataset = stars(tmp_path)
    losses = convert(dataset, target, tmp_path / "out")
    assert losses == ({LIMITS[target]: 4} if target in LIMITS else {})
    (record,), (original,) = open_dataset(tmp_path / "out").records, dataset.records
    for one, other in zip(original.instances, record.instances, strict=True):
        expected = decode_mask(one.segmentation, 90, 130)
        np.testing.assert_array_equal(decode_mask(other.segmentation, 90, 130), expected)
        box = pixel_box(expected) if target in PIXELS else one.box
        assert other.box == pytest.approx(box, abs=1e-5)
        assert target in LIMITS or one.class_id == other.class_id
