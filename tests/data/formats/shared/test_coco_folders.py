"""The folders that tools export COCO's format in."""

import json

import cv2
import numpy as np
import pytest

from keras_maskrcnn.data import open_dataset

# Of each tool: its file, its images, what the file calls them, and the path that is opened.
LAYOUTS = {
    "this package": ("annotations.json", "images/a.png", "a.png", "."),
    "Roboflow": ("train/_annotations.coco.json", "train/a.png", "a.png", "train"),
    "Roboflow, one split": ("train/_annotations.coco.json", "train/a.png", "a.png", "."),
    "CVAT": ("annotations/instances_default.json", "images/a.png", "a.png", "."),
    "CVAT, subset": ("annotations/instances_Train.json", "images/Train/a.png", "a.png", "."),
    "CVAT, folder": ("annotations/instances_default.json", "images/b/a.png", "b/a.png", "."),
    "COCO": ("annotations/instances_val2017.json", "val2017/a.png", "a.png", "."),
    "FiftyOne": ("labels.json", "data/a.png", "a.png", "."),
    "FiftyOne, split": ("val/labels.json", "val/data/a.png", "a.png", "val"),
    "Label Studio": ("result.json", "images/a.png", "images/a.png", "."),
    "Label Studio, Windows": ("result.json", "images/a.png", "images\\a.png", "."),
    "Label Studio 1.16": ("result.json", "images/a.png", "..\\..\\media\\upload\\4\\a.png", "."),
}


def write(root, file, image, name):
    for path in (file, image):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / image), np.full((20, 30, 3), 90, np.uint8))
    content = {
        "images": [{"id": 1, "file_name": name, "height": 20, "width": 30}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 9, 9]}],
    }
    (root / file).write_text(json.dumps(content))


@pytest.mark.parametrize("tool", LAYOUTS)
@pytest.mark.parametrize("opened", ["folder", "file"])
def test_every_layout_is_opened(tool, opened, tmp_path):
    file, image, name, folder = LAYOUTS[tool]
    write(tmp_path, file, image, name)
    dataset = open_dataset(tmp_path / (folder if opened == "folder" else file))
    assert dataset.problems == []
    (record,) = dataset.records
    assert record.path == str(tmp_path / image)
    assert record.instances[0].box == (2, 3, 11, 12)


def test_of_several_splits_one_must_be_chosen(tmp_path):
    for split in ("train", "valid"):
        write(tmp_path, f"{split}/_annotations.coco.json", f"{split}/{split}.png", f"{split}.png")
    with pytest.raises(ValueError, match="open one of its COCO files") as error:
        open_dataset(tmp_path)
    assert str(tmp_path / "train/_annotations.coco.json") in str(error.value)
    assert str(tmp_path / "valid/_annotations.coco.json") in str(error.value)
    assert open_dataset(tmp_path / "valid").records[0].path.endswith("valid.png")


def test_images_elsewhere(tmp_path):
    write(tmp_path, "result.json", "elsewhere/a.png", "images\\a.png")
    dataset = open_dataset(tmp_path, tmp_path / "elsewhere")
    assert dataset.records[0].path == str(tmp_path / "elsewhere/a.png")
