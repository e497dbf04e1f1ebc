"""What a file says of an object, read through a COCO file: sound, mended or refused."""

import json
import re

import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.data import Dataset
from keras_maskrcnn.data.formats import coco
from keras_maskrcnn.data.masks import encode_mask

BAD_BOXES = {
    "empty box": ([2, 2, 0, 10], "is empty or inverted"),
    "inverted box": ([2, 2, 10, -3], "is empty or inverted"),
    "box outside": ([40, 2, 10, 10], "lies outside the image of 30x20"),
    "box of three": ([2, 2, 10], "bbox must be 4 numbers"),
    "NaN box": ([2, 2, float("nan"), 4], "NaN or infinite"),
    "box of many digits": ([2, 2, 10**400, 4], "NaN or infinite, or beyond any image"),
    "text box": (["a", 2, 3, 4], "could not convert"),
    "box of shares": ([0.1, 0.1, 0.5, 0.5], "contradicts|pixels, not shares"),
}
CONTRADICTING_BOXES = {
    "beside": [16, 3, 10, 10],
    "centre": [7, 7, 10, 10],
    "corners": [2, 2, 12, 12],
    "shares": [0.0667, 0.1, 0.333, 0.5],
    "of more": [2, 2, 10, 17],
}
UNIT_SQUARE = [[0.1, 0.1, 0.4, 0.1, 0.4, 0.6, 0.1, 0.6]]
EMPTY = {"size": [20, 30], "counts": [600]}
BAD_ANNOTATIONS = {
    "unknown category": ({"category_id": 4}, "unknown category id 4"),
    "unknown image": ({"image_id": 99}, "unknown image id 99"),
    "no category": ({"category_id": None}, "category_id must be a whole number or a text"),
    "list of images": ({"image_id": [7]}, "image_id must be a whole number or a text"),
    "crowd of two": ({"iscrowd": 2}, "iscrowd must be 0 or 1, got 2"),
    "crowd of words": ({"iscrowd": "many"}, "iscrowd must be 0 or 1, got 'many'"),
    "empty RLE": ({"segmentation": EMPTY}, "its RLE is empty"),
    "empty compressed RLE": (
        {"segmentation": {"size": [20, 30], "counts": "hb0"}},
        "its RLE is empty",
    ),
    "cut RLE": ({"segmentation": {"size": [20, 30], "counts": "0h"}}, "not those of a compressed"),
    "RLE of text": (
        {"segmentation": {"size": [20, 30], "counts": ["600"]}},
        "runs must be whole numbers from 0 up",
    ),
    "RLE without counts": (
        {"segmentation": {"size": [20, 30]}},
        "counts must be a string or a list",
    ),
    "polygon outside": (
        {"segmentation": [[40, 2, 50, 2, 50, 12]]},
        "lies outside the image of 30x20",
    ),
    "polygon of shares": ({"segmentation": UNIT_SQUARE}, "must be pixels, not shares"),
    "polygon on a line": ({"segmentation": [[2, 2, 8, 2, 5, 2]]}, "enclose nothing"),
    "polygon on a slope": ({"segmentation": [[2, 2, 8, 5, 4, 3, 2, 2]]}, "enclose nothing"),
    "polygon there and back": ({"segmentation": [[2, 2, 8, 5, 2, 2, 9, 3]]}, "enclose nothing"),
    "two points": ({"segmentation": [[1, 1, 5, 5]]}, "no polygon has three points"),
    "odd polygon": ({"segmentation": [[1, 1, 5, 5, 3, 3, 2]]}, "no polygon has three points"),
    "NaN polygon": ({"segmentation": [[1, 1, 5, float("nan"), 3, 3]]}, "NaN or infinite"),
    "polygon of many digits": ({"segmentation": [[1, 1, 10**400, 9, 3, 3]]}, "beyond any image"),
    "far polygon": ({"segmentation": [[1, 1, 1e10, 9, 3, 3]]}, "beyond any image"),
    "area of text": ({"area": "large"}, "could not convert"),
    "RLE of another size": (
        {"segmentation": {"size": [30, 20], "counts": [600]}},
        r"the RLE is of size \[30, 20\], the image \[20, 30\]",
    ),
    "no box, no mask": ({"bbox": None, "segmentation": None}, "neither bbox nor segmentation"),
}


@pytest.mark.parametrize("name", BAD_ANNOTATIONS)
def test_bad_annotations_are_left_out_and_listed(tmp_path, content, name, load_coco):
    change, message = BAD_ANNOTATIONS[name]
    content["annotations"][0].update(change)
    dataset = load_coco(tmp_path, content)
    assert [instance.annotation_id for instance in dataset.records[0].instances] == [2]
    text = dataset.problem_report()
    assert "annotation 1: " in text
    assert str(tmp_path / "annotations.json") in text
    assert re.search(message, text), text


@pytest.mark.parametrize("name", BAD_BOXES)
def test_bad_boxes_without_a_mask_are_left_out_and_listed(tmp_path, content, name, load_coco):
    box, message = BAD_BOXES[name]
    content["annotations"][0].update(bbox=box, segmentation=[])
    dataset = load_coco(tmp_path, content)
    assert [instance.annotation_id for instance in dataset.records[0].instances] == [2]
    assert re.search(f"annotations.json: annotation 1: .*({message})", dataset.problem_report())
    assert dataset.broken()["annotation"] == (1, 2)


@pytest.mark.parametrize("name", BAD_BOXES)
def test_bad_boxes_beside_a_good_mask_become_the_masks(tmp_path, content, name, load_coco):
    box, message = BAD_BOXES[name]
    content["annotations"][0]["bbox"] = box
    dataset = load_coco(tmp_path, content)
    assert [i.box for i in dataset.records[0].instances] == [(2, 2, 12, 12)] * 2
    (problem,) = dataset.problems
    assert (problem.where, problem.lost) == (f"{dataset.source}: annotation 1", None)
    assert re.search(f"({message}).*the box of its segmentation is taken", problem.what)


@pytest.mark.parametrize("rle", [False, True])
@pytest.mark.parametrize("name", CONTRADICTING_BOXES)
def test_boxes_that_contradict_the_mask_become_the_masks(tmp_path, content, name, rle, load_coco):
    annotation = content["annotations"][0]
    annotation["bbox"] = CONTRADICTING_BOXES[name]
    if rle:
        mask = np.zeros((20, 30), np.uint8)
        mask[2:12, 2:12] = 1
        annotation["segmentation"] = encode_mask(mask)
    dataset = load_coco(tmp_path, content)
    assert [i.box for i in dataset.records[0].instances] == [(2, 2, 12, 12)] * 2
    (problem,) = dataset.problems
    assert (problem.where, problem.lost) == (f"{dataset.source}: annotation 1", None)
    assert "contradicts its segmentation, which has x 2 to 12 and y 2 to 12" in problem.what
    config = km.MaskRCNNConfig(image_min_size=20, image_max_size=30)
    _, y = next(iter(dataset.batches(config)))
    assert y["masks"].numpy().mean() > 0.98  # of pixels, the corners of a square are cut off


@pytest.mark.parametrize("box", [[2, 2, 9, 9], [1, 1, 12, 12], [3, 3, 8, 8], [2, 2, 10, 11.9]])
def test_boxes_that_are_rounded_otherwise_stay(tmp_path, content, box, load_coco):
    content["annotations"][0]["bbox"] = box
    dataset = load_coco(tmp_path, content)
    x, y, width, height = box
    assert dataset.records[0].instances[0].box == (x, y, x + width, y + height)
    assert dataset.problems == []


@pytest.mark.parametrize("box", [None, []])
def test_a_missing_box_is_the_masks(tmp_path, content, box, load_coco):
    content["annotations"][0]["bbox"] = box
    dataset = load_coco(tmp_path, content)
    assert dataset.records[0].instances[0].box == (2, 2, 12, 12)
    assert dataset.problems == []


@pytest.mark.parametrize(
    ("value", "crowd"),
    [(0, False), (1, True), (False, False), (True, True), (0.0, False), (None, False)]
    + [("0", False), ("False", False), ("false", False), ("1", True), ("True", True)],
)
def test_a_crowd_is_what_says_so(tmp_path, content, value, crowd, load_coco):
    content["annotations"][0]["iscrowd"] = value
    dataset = load_coco(tmp_path, content)
    assert [instance.crowd for instance in dataset.records[0].instances] == [crowd, False]
    assert dataset.problems == []


def test_box_that_reaches_out_is_clipped_and_listed(tmp_path, content, load_coco):
    content["annotations"][0].update(bbox=[20, 10, 50, 50], segmentation=None)
    dataset = load_coco(tmp_path, content)
    assert dataset.records[0].instances[0].box == (20, 10, 30, 20)
    assert "reaches out of the image" in dataset.problem_report()


def test_one_bad_polygon_of_two(tmp_path, content, load_coco):
    content["annotations"][0]["segmentation"].append([1, 1, 2, 2])
    dataset = load_coco(tmp_path, content)
    assert len(dataset.records[0].instances[0].segmentation) == 1
    assert "polygon 1 is no list of at least three points" in dataset.problem_report()


def test_one_flat_polygon_of_two(tmp_path, content, load_coco):
    content["annotations"][0]["segmentation"].append([1, 1, 2, 2, 3, 3])
    dataset = load_coco(tmp_path, content)
    assert len(dataset.records[0].instances[0].segmentation) == 1
    assert "polygon 1 encloses nothing: its points lie on a line" in dataset.problem_report()


def test_missing_box_is_that_of_the_mask(tmp_path, content, load_coco):
    del content["annotations"][0]["bbox"]
    assert load_coco(tmp_path, content).records[0].instances[0].box == (2, 2, 12, 12)


@pytest.mark.parametrize("area", [float("nan"), float("inf"), -1, 10**400, -(10**400)])
def test_an_area_that_is_none_is_that_of_the_mask(tmp_path, content, area, load_coco):
    content["annotations"][0].pop("area", None)
    expected = load_coco(tmp_path, content).records[0].instances[0].area
    content["annotations"][0]["area"] = area
    dataset = load_coco(tmp_path, content)
    assert dataset.records[0].instances[0].area == expected
    (problem,) = dataset.problems
    assert "annotation 1: the area must be a number of pixels, got " in str(problem)
    assert problem.lost is None


@pytest.mark.parametrize(("given", "read"), [(1.0, 1), ("1", "1"), ([1], None), (1.5, None)])
def test_ids_of_annotations(tmp_path, content, given, read, load_coco):
    content["annotations"][0]["id"] = given
    dataset = load_coco(tmp_path, content)
    assert [i.annotation_id for i in dataset.records[0].instances] == [read, 2]
    said = [str(problem) for problem in dataset.problems]
    assert len(said) == (read is None)
    assert all("id must be a whole number or a text, got " in text for text in said)


def test_masks_of_a_size_that_is_not_the_image_s_are_not_made(tmp_path, content, load_coco):
    load_coco(tmp_path, content)
    content["images"][0]["height"] = 2**30
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    dataset = Dataset("annotations.json", coco.read(tmp_path / "annotations.json"))
    with pytest.raises(ValueError, match="the image is 30x20, its annotation says 30x1073741824"):
        dataset.example(0)
