import json
import re

import numpy as np
import pytest

from keras_maskrcnn.data import CocoDataset, open_dataset
from keras_maskrcnn.data.formats import coco
from keras_maskrcnn.data.masks import encode_mask
from keras_maskrcnn.evaluation.coco import evaluate_results


def test_records(tmp_path, content, load_coco):
    dataset = load_coco(tmp_path, content)
    assert dataset.class_names == ("dog", "cat")  # in the order of their ids
    assert dataset.category_ids == (5, 90)
    assert [record.image_id for record in dataset.records] == [7, 3]
    assert len(dataset) == 2
    first, second = dataset.records
    assert [instance.class_id for instance in first.instances] == [1, 0]
    assert first.instances[0].box == (2, 2, 12, 12)
    assert second.instances == ()
    assert dataset.problems == []


def test_content_is_what_was_read(tmp_path, content, load_coco):
    """But for the annotations' ids, which count from 1: of COCO's evaluation 0 is none."""
    content["annotations"][1].update(iscrowd=1, area=90, bbox=[0, 0, 20, 20])
    content["annotations"][1]["segmentation"] = encode_mask(np.tri(20, 30, dtype=bool))
    written = load_coco(tmp_path, content).to_coco()
    for images in (content["images"], written["images"]):
        images.sort(key=lambda image: image["id"])
    assert written["images"] == [
        {name: image[name] for name in ("id", "height", "width")} for image in content["images"]
    ]
    assert written["annotations"] == content["annotations"]
    assert sorted(written["categories"], key=str) == sorted(content["categories"], key=str)


def test_class_names_choose_and_order(tmp_path, content, load_coco):
    dataset = load_coco(tmp_path, content, class_names=["cat"])
    assert dataset.category_ids == (90,)
    assert [instance.class_id for instance in dataset.records[0].instances] == [0]
    assert dataset.problems == []
    with pytest.raises(ValueError, match="no category 'cow'; there are cat, dog"):
        load_coco(tmp_path, content, class_names=["cow"])


def test_categories_of_one_name_are_one_class(tmp_path, content, load_coco):
    content["categories"] = [{"id": i, "name": n} for i, n in ((0, "cat"), (1, " cat"), (2, "dog"))]
    content["annotations"][0]["category_id"], content["annotations"][1]["category_id"] = 1, 2
    content["annotations"].append({**content["annotations"][0], "id": 3, "category_id": 0})
    dataset = load_coco(tmp_path, content)
    assert dataset.class_names == ("cat", "dog")
    assert [instance.class_id for instance in dataset.records[0].instances] == [0, 1, 0]
    (problem,) = dataset.problems
    assert (
        str(problem)
        == f"{dataset.source}: categories: the ids 0, 1 are all 'cat': they become one class"
    )
    del content["annotations"][2]
    assert load_coco(tmp_path, content).category_ids == (1, 2)  # the ids that annotations have


def test_two_categories_of_one_id_are_refused(tmp_path, content, load_coco):
    content["categories"].append({"id": "90", "name": "eel"})
    with pytest.raises(
        ValueError, match=r"categories\[2\]: 'eel' has the id 90 of 'cat': give each"
    ):
        load_coco(tmp_path, content)
    content["categories"][2]["name"] = "cat"  # the same once more
    dataset = load_coco(tmp_path, content)
    assert dataset.class_names == ("dog", "cat")
    assert dataset.problems == []


def test_a_root_category_is_said(tmp_path, content, load_coco):
    content["categories"].insert(0, {"id": 0, "name": "pets", "supercategory": "none"})
    for category in content["categories"][1:]:
        category["supercategory"] = "pets"
    dataset = load_coco(tmp_path, content)
    assert dataset.class_names == ("pets", "dog", "cat")
    (problem,) = dataset.problems
    assert problem.where == f"{dataset.source}: categories[0]"
    assert "'pets' is the supercategory of others and no annotation has it" in problem.what
    assert "class_names" in problem.what
    assert load_coco(tmp_path, content, class_names=["dog", "cat"]).problems == []


def test_numbers_as_names_are_texts(tmp_path, content, load_coco):
    content["categories"] = [{"id": 5, "name": 7}, {"id": 90, "name": 7.5}]
    assert load_coco(tmp_path, content).class_names == ("7", "7.5")
    for bad in (None, "", " ", True, ["cat"]):
        content["categories"][1]["name"] = bad
        with pytest.raises(ValueError, match=r"annotations.json: categories\[1\]: has no name"):
            load_coco(tmp_path, content)


@pytest.mark.parametrize("images", [[7, 3], ["7", "3"], [7.0, 3.0], [7, "3"]])
@pytest.mark.parametrize("categories", [[90, 5], ["90", "5"], [90.0, 5.0], ["90", 5]])
@pytest.mark.parametrize("written", [float, str])
def test_ids_of_other_types_are_the_same_ids(
    tmp_path, content, images, categories, written, load_coco
):
    for info, image_id in zip(content["images"], images, strict=True):
        info["id"] = image_id
    for category, category_id in zip(content["categories"], categories, strict=True):
        category["id"] = category_id
    for annotation in content["annotations"]:
        annotation["image_id"] = str(7) if written is str else 7.0
        annotation["category_id"] = written(annotation["category_id"])
    dataset = load_coco(tmp_path, content)
    assert dataset.class_names == ("dog", "cat")
    assert dataset.category_ids == (5, 90)
    assert [instance.class_id for instance in dataset.records[0].instances] == [1, 0]
    assert dataset.problems == []
    expected = images if images == ["7", "3"] else [7, 3]
    assert [record.image_id for record in dataset.records] == expected
    assert {type(record.image_id) for record in dataset.records} == {type(expected[0])}


def test_image_ids_that_are_no_numbers(tmp_path, content, load_coco):
    content["images"][1]["id"] = "b"
    dataset = load_coco(tmp_path, content)
    assert [record.image_id for record in dataset.records] == ["7", "b"]
    assert len(dataset.ground_truth().getAnnIds(["7"])) == 2


def test_category_ids_that_are_no_numbers(tmp_path, content, load_coco):
    content["categories"][0]["id"] = content["annotations"][0]["category_id"] = "c"
    dataset = load_coco(tmp_path, content)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.category_ids == (1, 2)
    assert [instance.class_id for instance in dataset.records[0].instances] == [0, 1]
    assert "ids that are no whole numbers ('c', 5); results number them" in dataset.problem_report()


@pytest.mark.parametrize("bad", [None, True, [1], {}, float("nan"), 1.5])
def test_ids_that_are_none(tmp_path, content, bad, load_coco):
    content["images"][1]["id"] = bad
    dataset = load_coco(tmp_path, content)
    assert len(dataset) == 1
    assert "images[1]: id must be a whole number or a text, got" in dataset.problem_report()
    content["categories"][1]["id"] = bad
    with pytest.raises(ValueError, match=r"annotations.json: categories\[1\]: id must be a whole"):
        load_coco(tmp_path, content)


@pytest.mark.parametrize("width", [30, 30.0, "30", None])
def test_sizes_as_exporters_write_them(tmp_path, content, width, load_coco):
    dataset = load_coco(tmp_path, content)
    content["images"][0]["width"] = width
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert CocoDataset(tmp_path / "annotations.json", tmp_path).records == dataset.records
    del content["images"][0]["width"], content["images"][1]["height"]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert CocoDataset(tmp_path / "annotations.json", tmp_path).records == dataset.records


@pytest.mark.parametrize("width", [0, -3, 30.5, "wide", True, [30]])
def test_sizes_that_are_none(tmp_path, content, width, load_coco):
    load_coco(tmp_path, content)
    content["images"][0]["width"] = width
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    dataset = CocoDataset(tmp_path / "annotations.json", tmp_path)
    assert [record.image_id for record in dataset.records] == [3]
    assert "images[0]: width must be a whole number of pixels, got" in dataset.problem_report()


def test_the_export_of_via(tmp_path, load_coco):
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
    dataset = load_coco(tmp_path, content)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.problems == []
    assert [[i.class_id for i in r.instances] for r in dataset.records] == [[0] * 3, [1] * 3] * 3
    for record in dataset.records:
        assert [i.box for i in record.instances] == [(x, 3, x + 6, 15) for x in (2, 10, 18)]
        assert all(len(i.segmentation) == 1 for i in record.instances)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings(tmp_path, content, encoding, load_coco):
    content["categories"][0]["name"] = "\u732b"
    load_coco(tmp_path, content)
    text = json.dumps(content, ensure_ascii=False)
    (tmp_path / "annotations.json").write_text(text, encoding=encoding)
    assert open_dataset(tmp_path / "annotations.json").class_names == ("dog", "\u732b")


def test_another_encoding_is_named(tmp_path, content, load_coco):
    content["categories"][0]["name"] = "\u72d7"
    load_coco(tmp_path, content)
    text = json.dumps(content, ensure_ascii=False)
    (tmp_path / "annotations.json").write_text(text, encoding="gb18030")
    with pytest.raises(
        ValueError,
        match=r"annotations.json: not a text in utf-8 .*, perhaps gb18030: save it as UTF-8",
    ):
        open_dataset(tmp_path / "annotations.json")


def test_missing_image_file(tmp_path, content, load_coco):
    dataset = load_coco(tmp_path, content)
    (tmp_path / "a.png").unlink()
    dataset = CocoDataset(tmp_path / "annotations.json", tmp_path)
    assert [record.image_id for record in dataset.records] == [3]
    assert "images[0]: there is no image file" in dataset.problem_report()
    (tmp_path / "b.png").unlink()
    with pytest.raises(ValueError, match=r"none of its 2 images is usable"):
        CocoDataset(tmp_path / "annotations.json", tmp_path)


@pytest.mark.parametrize("field", ["id", "file_name"])
def test_image_entry_without_a_field(tmp_path, content, field, load_coco):
    load_coco(tmp_path, content)
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


def test_no_annotations_at_all(tmp_path, content, load_coco):
    dataset = load_coco(tmp_path, {**content, "annotations": []})
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


@pytest.mark.parametrize("side", [10**400, 2**31])
def test_a_side_that_no_image_has(tmp_path, content, side, load_coco):
    load_coco(tmp_path, content)
    content["images"][0]["height"] = side
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    contents = coco.read(tmp_path / "annotations.json")
    assert "height must be a whole number of pixels, got " in str(contents.problems[0])
    assert contents.problems[0].lost == "image"
