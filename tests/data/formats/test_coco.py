import json
import re

import cv2
import numpy as np
import pytest

from keras_maskrcnn.data import CocoDataset
from keras_maskrcnn.evaluation.coco import evaluate_results


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


def load(folder, content, **kwargs):
    for info in content["images"]:
        if isinstance(info.get("height"), int):
            image = np.full((info["height"], info["width"], 3), 90, np.uint8)
            cv2.imwrite(str(folder / info["file_name"]), image)
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return CocoDataset(path, folder, **kwargs)


def test_records(tmp_path, content):
    dataset = load(tmp_path, content)
    assert dataset.class_names == ("dog", "cat")  # in the order of their ids
    assert dataset.category_ids == (5, 90)
    assert [record.image_id for record in dataset.records] == [7, 3]
    assert len(dataset) == 2
    first, second = dataset.records
    assert [instance.class_id for instance in first.instances] == [1, 0]
    assert first.instances[0].box == (2, 2, 12, 12)
    assert second.instances == ()
    assert dataset.problems == []


def test_class_names_choose_and_order(tmp_path, content):
    dataset = load(tmp_path, content, class_names=["cat"])
    assert dataset.category_ids == (90,)
    assert [instance.class_id for instance in dataset.records[0].instances] == [0]
    assert dataset.problems == []
    with pytest.raises(ValueError, match="no category 'cow'; there are cat, dog"):
        load(tmp_path, content, class_names=["cow"])


BAD_ANNOTATIONS = {
    "unknown category": ({"category_id": 4}, "unknown category id 4"),
    "unknown image": ({"image_id": 99}, "unknown image id 99"),
    "empty box": ({"bbox": [2, 2, 0, 10]}, "is empty or inverted"),
    "inverted box": ({"bbox": [2, 2, 10, -3]}, "is empty or inverted"),
    "box outside": ({"bbox": [40, 2, 10, 10]}, "lies outside the image of 30x20"),
    "box of three": ({"bbox": [2, 2, 10]}, "bbox must be 4 numbers"),
    "NaN box": ({"bbox": [2, 2, float("nan"), 4]}, "NaN or infinite"),
    "text box": ({"bbox": ["a", 2, 3, 4]}, "could not convert"),
    "two points": ({"segmentation": [[1, 1, 5, 5]]}, "no polygon has three points"),
    "odd polygon": ({"segmentation": [[1, 1, 5, 5, 3, 3, 2]]}, "no polygon has three points"),
    "NaN polygon": ({"segmentation": [[1, 1, 5, float("nan"), 3, 3]]}, "NaN or infinite"),
    "RLE of another size": (
        {"segmentation": {"size": [30, 20], "counts": [600]}},
        r"the RLE is of size \[30, 20\], the image \[20, 30\]",
    ),
    "no box, no mask": ({"bbox": None, "segmentation": None}, "neither bbox nor segmentation"),
}


@pytest.mark.parametrize("name", BAD_ANNOTATIONS)
def test_bad_annotations_are_left_out_and_listed(tmp_path, content, name):
    change, message = BAD_ANNOTATIONS[name]
    content["annotations"][0].update(change)
    dataset = load(tmp_path, content)
    assert [instance.annotation_id for instance in dataset.records[0].instances] == [2]
    text = dataset.problem_report()
    assert "annotation 1: " in text
    assert str(tmp_path / "annotations.json") in text
    assert re.search(message, text), text


def test_box_that_reaches_out_is_clipped_and_listed(tmp_path, content):
    content["annotations"][0]["bbox"] = [20, 10, 50, 50]
    dataset = load(tmp_path, content)
    assert dataset.records[0].instances[0].box == (20, 10, 30, 20)
    assert "reaches out of the image" in dataset.problem_report()


def test_one_bad_polygon_of_two(tmp_path, content):
    content["annotations"][0]["segmentation"].append([1, 1, 2, 2])
    dataset = load(tmp_path, content)
    assert len(dataset.records[0].instances[0].segmentation) == 1
    assert "polygon 1 is no list of at least three points" in dataset.problem_report()


def test_missing_box_is_that_of_the_mask(tmp_path, content):
    del content["annotations"][0]["bbox"]
    assert load(tmp_path, content).records[0].instances[0].box == (2, 2, 12, 12)


def test_missing_image_file(tmp_path, content):
    dataset = load(tmp_path, content)
    (tmp_path / "a.png").unlink()
    dataset = CocoDataset(tmp_path / "annotations.json", tmp_path)
    assert [record.image_id for record in dataset.records] == [3]
    assert "images[0]: there is no image file" in dataset.problem_report()
    (tmp_path / "b.png").unlink()
    with pytest.raises(ValueError, match=r"none of its 2 images is usable"):
        CocoDataset(tmp_path / "annotations.json", tmp_path)


def test_image_entry_without_a_field(tmp_path, content):
    del content["images"][1]["height"]
    dataset = load(tmp_path, content)
    assert len(dataset) == 1
    assert "images[1]: has no height" in dataset.problem_report()


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"images": []}', '{"images": {}}'])
def test_not_an_annotation_file(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x.json: not a (JSON|COCO)"):
        CocoDataset(path, tmp_path)


def test_missing_annotation_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.json"):
        CocoDataset(tmp_path / "none.json", tmp_path)


def test_no_annotations_at_all(tmp_path, content):
    dataset = load(tmp_path, {**content, "annotations": []})
    assert all(record.instances == () for record in dataset.records)
    assert dataset.problems == []


def test_real_annotations(shared):
    folder = shared / "data/coco_tiny"
    path = folder / "annotations/instances_train2017.json"
    dataset = CocoDataset(path, folder / "train2017")
    assert dataset.problems == []
    assert len(dataset.class_names) == 80
    annotated = json.loads(path.read_text())["annotations"]
    assert sum(len(record.instances) for record in dataset.records) == len(annotated)
    assert sum(i.crowd for r in dataset.records for i in r.instances) == 5
    for index in (0, 7, 20):
        example, record = dataset.example(index), dataset.records[index]
        assert example["image"].shape == (record.height, record.width, 3)
        for box, mask in zip(example["boxes"], example["masks"], strict=True):
            rows, columns = np.nonzero(mask)
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(found, box, atol=2)


def test_ground_truth_against_itself_is_perfect(shared):
    folder = shared / "data/coco_tiny"
    dataset = CocoDataset(folder / "annotations/instances_val2017.json", folder / "val2017")
    truth = dataset.ground_truth()
    results = []
    for annotation in truth.dataset["annotations"]:
        if not annotation["iscrowd"]:
            rle = truth.annToRLE(annotation)
            results.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": annotation["category_id"],
                    "bbox": annotation["bbox"],
                    "segmentation": {**rle, "counts": rle["counts"].decode()},
                    "score": 1.0,
                }
            )
    figures = evaluate_results(results, truth)
    assert figures["box_ap"] == pytest.approx(1.0)
    assert figures["mask_ap"] == pytest.approx(1.0)
