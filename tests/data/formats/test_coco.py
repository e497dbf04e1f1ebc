import json
import re

import cv2
import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.data import CocoDataset, Dataset, open_dataset
from keras_maskrcnn.data.formats import coco
from keras_maskrcnn.data.masks import encode_mask
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


def test_content_is_what_was_read(tmp_path, content):
    """But for the annotations' ids, which count from 1: of COCO's evaluation 0 is none."""
    content["annotations"][1].update(iscrowd=1, area=90, bbox=[0, 0, 20, 20])
    content["annotations"][1]["segmentation"] = encode_mask(np.tri(20, 30, dtype=bool))
    written = load(tmp_path, content).to_coco()
    for images in (content["images"], written["images"]):
        images.sort(key=lambda image: image["id"])
    assert written["images"] == [
        {name: image[name] for name in ("id", "height", "width")} for image in content["images"]
    ]
    assert written["annotations"] == content["annotations"]
    assert sorted(written["categories"], key=str) == sorted(content["categories"], key=str)


def test_class_names_choose_and_order(tmp_path, content):
    dataset = load(tmp_path, content, class_names=["cat"])
    assert dataset.category_ids == (90,)
    assert [instance.class_id for instance in dataset.records[0].instances] == [0]
    assert dataset.problems == []
    with pytest.raises(ValueError, match="no category 'cow'; there are cat, dog"):
        load(tmp_path, content, class_names=["cow"])


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
def test_bad_annotations_are_left_out_and_listed(tmp_path, content, name):
    change, message = BAD_ANNOTATIONS[name]
    content["annotations"][0].update(change)
    dataset = load(tmp_path, content)
    assert [instance.annotation_id for instance in dataset.records[0].instances] == [2]
    text = dataset.problem_report()
    assert "annotation 1: " in text
    assert str(tmp_path / "annotations.json") in text
    assert re.search(message, text), text


@pytest.mark.parametrize("name", BAD_BOXES)
def test_bad_boxes_without_a_mask_are_left_out_and_listed(tmp_path, content, name):
    box, message = BAD_BOXES[name]
    content["annotations"][0].update(bbox=box, segmentation=[])
    dataset = load(tmp_path, content)
    assert [instance.annotation_id for instance in dataset.records[0].instances] == [2]
    assert re.search(f"annotations.json: annotation 1: .*({message})", dataset.problem_report())
    assert dataset.broken()["annotation"] == (1, 2)


@pytest.mark.parametrize("name", BAD_BOXES)
def test_bad_boxes_beside_a_good_mask_become_the_masks(tmp_path, content, name):
    box, message = BAD_BOXES[name]
    content["annotations"][0]["bbox"] = box
    dataset = load(tmp_path, content)
    assert [i.box for i in dataset.records[0].instances] == [(2, 2, 12, 12)] * 2
    (problem,) = dataset.problems
    assert (problem.where, problem.lost) == (f"{dataset.source}: annotation 1", None)
    assert re.search(f"({message}).*the box of its segmentation is taken", problem.what)


@pytest.mark.parametrize("rle", [False, True])
@pytest.mark.parametrize("name", CONTRADICTING_BOXES)
def test_boxes_that_contradict_the_mask_become_the_masks(tmp_path, content, name, rle):
    annotation = content["annotations"][0]
    annotation["bbox"] = CONTRADICTING_BOXES[name]
    if rle:
        mask = np.zeros((20, 30), np.uint8)
        mask[2:12, 2:12] = 1
        annotation["segmentation"] = encode_mask(mask)
    dataset = load(tmp_path, content)
    assert [i.box for i in dataset.records[0].instances] == [(2, 2, 12, 12)] * 2
    (problem,) = dataset.problems
    assert (problem.where, problem.lost) == (f"{dataset.source}: annotation 1", None)
    assert "contradicts its segmentation, which has x 2 to 12 and y 2 to 12" in problem.what
    config = km.MaskRCNNConfig(image_min_size=20, image_max_size=30)
    _, y = next(iter(dataset.batches(config)))
    assert y["masks"].numpy().mean() > 0.98  # of pixels, the corners of a square are cut off


@pytest.mark.parametrize("box", [[2, 2, 9, 9], [1, 1, 12, 12], [3, 3, 8, 8], [2, 2, 10, 11.9]])
def test_boxes_that_are_rounded_otherwise_stay(tmp_path, content, box):
    content["annotations"][0]["bbox"] = box
    dataset = load(tmp_path, content)
    x, y, width, height = box
    assert dataset.records[0].instances[0].box == (x, y, x + width, y + height)
    assert dataset.problems == []


@pytest.mark.parametrize("box", [None, []])
def test_a_missing_box_is_the_masks(tmp_path, content, box):
    content["annotations"][0]["bbox"] = box
    dataset = load(tmp_path, content)
    assert dataset.records[0].instances[0].box == (2, 2, 12, 12)
    assert dataset.problems == []


@pytest.mark.parametrize(
    ("value", "crowd"),
    [(0, False), (1, True), (False, False), (True, True), (0.0, False), (None, False)]
    + [("0", False), ("False", False), ("false", False), ("1", True), ("True", True)],
)
def test_a_crowd_is_what_says_so(tmp_path, content, value, crowd):
    content["annotations"][0]["iscrowd"] = value
    dataset = load(tmp_path, content)
    assert [instance.crowd for instance in dataset.records[0].instances] == [crowd, False]
    assert dataset.problems == []


def test_categories_of_one_name_are_one_class(tmp_path, content):
    content["categories"] = [{"id": i, "name": n} for i, n in ((0, "cat"), (1, " cat"), (2, "dog"))]
    content["annotations"][0]["category_id"], content["annotations"][1]["category_id"] = 1, 2
    content["annotations"].append({**content["annotations"][0], "id": 3, "category_id": 0})
    dataset = load(tmp_path, content)
    assert dataset.class_names == ("cat", "dog")
    assert [instance.class_id for instance in dataset.records[0].instances] == [0, 1, 0]
    (problem,) = dataset.problems
    assert (
        str(problem)
        == f"{dataset.source}: categories: the ids 0, 1 are all 'cat': they become one class"
    )
    del content["annotations"][2]
    assert load(tmp_path, content).category_ids == (1, 2)  # the ids that annotations have


def test_two_categories_of_one_id_are_refused(tmp_path, content):
    content["categories"].append({"id": "90", "name": "eel"})
    with pytest.raises(
        ValueError, match=r"categories\[2\]: 'eel' has the id 90 of 'cat': give each"
    ):
        load(tmp_path, content)
    content["categories"][2]["name"] = "cat"  # the same once more
    dataset = load(tmp_path, content)
    assert dataset.class_names == ("dog", "cat")
    assert dataset.problems == []


def test_a_root_category_is_said(tmp_path, content):
    content["categories"].insert(0, {"id": 0, "name": "pets", "supercategory": "none"})
    for category in content["categories"][1:]:
        category["supercategory"] = "pets"
    dataset = load(tmp_path, content)
    assert dataset.class_names == ("pets", "dog", "cat")
    (problem,) = dataset.problems
    assert problem.where == f"{dataset.source}: categories[0]"
    assert "'pets' is the supercategory of others and no annotation has it" in problem.what
    assert "class_names" in problem.what
    assert load(tmp_path, content, class_names=["dog", "cat"]).problems == []


def test_numbers_as_names_are_texts(tmp_path, content):
    content["categories"] = [{"id": 5, "name": 7}, {"id": 90, "name": 7.5}]
    assert load(tmp_path, content).class_names == ("7", "7.5")
    for bad in (None, "", " ", True, ["cat"]):
        content["categories"][1]["name"] = bad
        with pytest.raises(ValueError, match=r"annotations.json: categories\[1\]: has no name"):
            load(tmp_path, content)


@pytest.mark.parametrize("images", [[7, 3], ["7", "3"], [7.0, 3.0], [7, "3"]])
@pytest.mark.parametrize("categories", [[90, 5], ["90", "5"], [90.0, 5.0], ["90", 5]])
@pytest.mark.parametrize("written", [float, str])
def test_ids_of_other_types_are_the_same_ids(tmp_path, content, images, categories, written):
    for info, image_id in zip(content["images"], images, strict=True):
        info["id"] = image_id
    for category, category_id in zip(content["categories"], categories, strict=True):
        category["id"] = category_id
    for annotation in content["annotations"]:
        annotation["image_id"] = str(7) if written is str else 7.0
        annotation["category_id"] = written(annotation["category_id"])
    dataset = load(tmp_path, content)
    assert dataset.class_names == ("dog", "cat")
    assert dataset.category_ids == (5, 90)
    assert [instance.class_id for instance in dataset.records[0].instances] == [1, 0]
    assert dataset.problems == []
    expected = images if images == ["7", "3"] else [7, 3]
    assert [record.image_id for record in dataset.records] == expected
    assert {type(record.image_id) for record in dataset.records} == {type(expected[0])}


def test_image_ids_that_are_no_numbers(tmp_path, content):
    content["images"][1]["id"] = "b"
    dataset = load(tmp_path, content)
    assert [record.image_id for record in dataset.records] == ["7", "b"]
    assert len(dataset.ground_truth().getAnnIds(["7"])) == 2


def test_category_ids_that_are_no_numbers(tmp_path, content):
    content["categories"][0]["id"] = content["annotations"][0]["category_id"] = "c"
    dataset = load(tmp_path, content)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.category_ids == (1, 2)
    assert [instance.class_id for instance in dataset.records[0].instances] == [0, 1]
    assert "ids that are no whole numbers ('c', 5); results number them" in dataset.problem_report()


@pytest.mark.parametrize("bad", [None, True, [1], {}, float("nan"), 1.5])
def test_ids_that_are_none(tmp_path, content, bad):
    content["images"][1]["id"] = bad
    dataset = load(tmp_path, content)
    assert len(dataset) == 1
    assert "images[1]: id must be a whole number or a text, got" in dataset.problem_report()
    content["categories"][1]["id"] = bad
    with pytest.raises(ValueError, match=r"annotations.json: categories\[1\]: id must be a whole"):
        load(tmp_path, content)


@pytest.mark.parametrize("width", [30, 30.0, "30", None])
def test_sizes_as_exporters_write_them(tmp_path, content, width):
    dataset = load(tmp_path, content)
    content["images"][0]["width"] = width
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert CocoDataset(tmp_path / "annotations.json", tmp_path).records == dataset.records
    del content["images"][0]["width"], content["images"][1]["height"]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert CocoDataset(tmp_path / "annotations.json", tmp_path).records == dataset.records


@pytest.mark.parametrize("width", [0, -3, 30.5, "wide", True, [30]])
def test_sizes_that_are_none(tmp_path, content, width):
    load(tmp_path, content)
    content["images"][0]["width"] = width
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    dataset = CocoDataset(tmp_path / "annotations.json", tmp_path)
    assert [record.image_id for record in dataset.records] == [3]
    assert "images[0]: width must be a whole number of pixels, got" in dataset.problem_report()


def test_the_export_of_via(tmp_path):
    """The numbers of the images are texts in annotations, polygons flat, categories repeated."""
    content = {"images": [], "annotations": [], "categories": []}
    for number in range(6):
        info = {"id": number, "width": 30, "height": 20, "file_name": f"{number}.png"}
        content["images"].append({**info, "license": 0, "date_captured": ""})
        content["categories"].append({"supercategory": "kind", "id": 1, "name": "cat"})
        content["categories"].append({"supercategory": "kind", "id": 2, "name": "dog"})
        for x in (2, 10, 18):
            polygon = [x, 3, x + 6, 3, x + 6, 15, x, 15]
            annotation = {"segmentation": polygon, "area": 72, "bbox": [x, 3, 6, 12], "iscrowd": 0}
            annotation |= {"id": len(content["annotations"]), "image_id": str(number)}
            content["annotations"].append({**annotation, "category_id": 1 + number % 2})
    dataset = load(tmp_path, content)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.problems == []
    assert [[i.class_id for i in r.instances] for r in dataset.records] == [[0] * 3, [1] * 3] * 3
    for record in dataset.records:
        assert [i.box for i in record.instances] == [(x, 3, x + 6, 15) for x in (2, 10, 18)]
        assert all(len(i.segmentation) == 1 for i in record.instances)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings(tmp_path, content, encoding):
    content["categories"][0]["name"] = "\u732b"
    load(tmp_path, content)
    text = json.dumps(content, ensure_ascii=False)
    (tmp_path / "annotations.json").write_text(text, encoding=encoding)
    assert open_dataset(tmp_path / "annotations.json").class_names == ("dog", "\u732b")


def test_another_encoding_is_named(tmp_path, content):
    content["categories"][0]["name"] = "\u72d7"
    load(tmp_path, content)
    text = json.dumps(content, ensure_ascii=False)
    (tmp_path / "annotations.json").write_text(text, encoding="gb18030")
    with pytest.raises(
        ValueError,
        match=r"annotations.json: not a text in utf-8 .*, perhaps gb18030: save it as UTF-8",
    ):
        open_dataset(tmp_path / "annotations.json")


def test_box_that_reaches_out_is_clipped_and_listed(tmp_path, content):
    content["annotations"][0].update(bbox=[20, 10, 50, 50], segmentation=None)
    dataset = load(tmp_path, content)
    assert dataset.records[0].instances[0].box == (20, 10, 30, 20)
    assert "reaches out of the image" in dataset.problem_report()


def test_one_bad_polygon_of_two(tmp_path, content):
    content["annotations"][0]["segmentation"].append([1, 1, 2, 2])
    dataset = load(tmp_path, content)
    assert len(dataset.records[0].instances[0].segmentation) == 1
    assert "polygon 1 is no list of at least three points" in dataset.problem_report()


def test_one_flat_polygon_of_two(tmp_path, content):
    content["annotations"][0]["segmentation"].append([1, 1, 2, 2, 3, 3])
    dataset = load(tmp_path, content)
    assert len(dataset.records[0].instances[0].segmentation) == 1
    assert "polygon 1 encloses nothing: its points lie on a line" in dataset.problem_report()


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


@pytest.mark.parametrize("field", ["id", "file_name"])
def test_image_entry_without_a_field(tmp_path, content, field):
    load(tmp_path, content)
    del content["images"][1][field]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    dataset = CocoDataset(tmp_path / "annotations.json", tmp_path)
    assert len(dataset) == 1
    assert re.search(f"images\\[1\\]: (has no )?{field}", dataset.problem_report())


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


@pytest.mark.parametrize("area", [float("nan"), float("inf"), -1, 10**400, -(10**400)])
def test_an_area_that_is_none_is_that_of_the_mask(tmp_path, content, area):
    content["annotations"][0].pop("area", None)
    expected = load(tmp_path, content).records[0].instances[0].area
    content["annotations"][0]["area"] = area
    dataset = load(tmp_path, content)
    assert dataset.records[0].instances[0].area == expected
    (problem,) = dataset.problems
    assert "annotation 1: the area must be a number of pixels, got " in str(problem)
    assert problem.lost is None


@pytest.mark.parametrize(("given", "read"), [(1.0, 1), ("1", "1"), ([1], None), (1.5, None)])
def test_ids_of_annotations(tmp_path, content, given, read):
    content["annotations"][0]["id"] = given
    dataset = load(tmp_path, content)
    assert [i.annotation_id for i in dataset.records[0].instances] == [read, 2]
    said = [str(problem) for problem in dataset.problems]
    assert len(said) == (read is None)
    assert all("id must be a whole number or a text, got " in text for text in said)


@pytest.mark.parametrize("side", [10**400, 2**31])
def test_a_side_that_no_image_has(tmp_path, content, side):
    load(tmp_path, content)
    content["images"][0]["height"] = side
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    contents = coco.read(tmp_path / "annotations.json")
    assert "height must be a whole number of pixels, got " in str(contents.problems[0])
    assert contents.problems[0].lost == "image"


def test_masks_of_a_size_that_is_not_the_image_s_are_not_made(tmp_path, content):
    load(tmp_path, content)
    content["images"][0]["height"] = 2**30
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    dataset = Dataset("annotations.json", coco.read(tmp_path / "annotations.json"))
    with pytest.raises(ValueError, match="the image is 30x20, its annotation says 30x1073741824"):
        dataset.example(0)
