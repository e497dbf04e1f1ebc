"""Detections as annotations: what tools open, and what comes back through the readers."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

import keras_maskrcnn as km
from keras_maskrcnn.data.masks import decode_mask
from keras_maskrcnn.data.outlines import trace_outlines
from keras_maskrcnn.prediction.annotations import LEAST_IOU, annotate, simplified_outlines


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return km.data.shapes.generate(tmp_path_factory.mktemp("shapes"), 4, 192)


@pytest.fixture(scope="module")
def found(shapes):
    """The path of each picture, and what is drawn in it as if a model had found it."""
    return [(record.path, detections_of(shapes, i)) for i, record in enumerate(shapes.records)]


def detections_of(dataset, index):
    example = dataset.example(index)
    masks = km.data.crop_masks(example["masks"], example["boxes"])
    scores, size = np.ones(len(masks)), example["image"].shape[:2]
    names = dataset.class_names
    return km.Detections(example["boxes"], scores, example["class_ids"], masks, size, names)


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("target", ["labelme", "coco", "cvat", "yolo", "via"])
def test_what_is_written_comes_back(shapes, found, target, tmp_path):
    config = km.MaskRCNNConfig(num_classes=6, class_names=shapes.class_names)
    losses = km.data.convert(annotate(found, config), target, tmp_path / "out")
    assert losses == {}
    back = km.data.open_dataset(tmp_path / "out")
    assert list(back.problems) == []
    assert len(back) == len(found)
    for record, (_, detections) in zip(back.records, found, strict=True):
        names = [back.class_names[instance.class_id] for instance in record.instances]
        assert sorted(names) == sorted(detections.class_names)
        masks = [
            decode_mask(instance.segmentation, record.height, record.width) > 0
            for instance in record.instances
        ]
        for name, mask in zip(detections.class_names, detections.masks, strict=True):
            assert (
                max(iou(mask, other) for n, other in zip(names, masks, strict=True) if n == name)
                >= 0.95
            )


def test_names_that_stand_for_no_class_are_left_out(shapes, found):
    names = [part for name in shapes.class_names for part in ("N/A", name)]
    path, detections = found[0]
    spread = km.Detections(
        detections.boxes, detections.scores, 2 * detections.class_ids + 1, None, (192, 192), names
    )
    dataset = annotate([(path, spread)], km.MaskRCNNConfig(num_classes=12, class_names=names))
    assert dataset.class_names == shapes.class_names
    (record,) = dataset.records
    assert [i.class_id for i in record.instances] == detections.class_ids.tolist()
    assert [i.segmentation for i in record.instances] == [None] * len(detections)


@settings(max_examples=60, deadline=None)
@given(st_numpy.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24))).filter(np.any))
def test_outlines_are_near_to_the_mask_and_no_longer_than_exact_ones(mask):
    simple = simplified_outlines(mask)
    assert iou(decode_mask(simple, *mask.shape) > 0, mask) >= LEAST_IOU
    exact = trace_outlines(mask)
    assert sum(map(len, simple)) <= sum(map(len, exact))


def test_a_disc_has_few_points():
    y, x = np.mgrid[:80, :80]
    (outline,) = simplified_outlines((x - 40) ** 2 + (y - 40) ** 2 < 30**2)
    assert len(outline) // 2 <= 24  # of 200 corners of pixels


def test_a_file_for_labelme(shapes, found, tmp_path):
    path, detections = found[1]
    picture = shutil.copy(path, tmp_path / "a.jpg")
    detections.save(tmp_path / "a.labelme.json")
    (tmp_path / "elsewhere").mkdir()
    detections.save(tmp_path / "elsewhere/a.labelme.json", picture)
    content = json.loads((tmp_path / "elsewhere/a.labelme.json").read_text())
    assert content["imagePath"] == "../a.jpg"
    (record,) = km.data.Dataset.from_labelme(tmp_path).records
    assert len(record.instances) == len(detections)
    for where, image in (("b.labelme.json", None), ("a.labelme.json", np.zeros((192, 192, 3)))):
        with pytest.raises(ValueError, match="give the path of the image"):
            detections.save(tmp_path / where, image)
