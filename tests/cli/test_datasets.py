"""The command line on datasets: looking at them, converting them, training on any format."""

import json
import pathlib

import cv2
import numpy as np
import PIL.Image
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.cli import training_run
from keras_maskrcnn.cli.datasets import TARGETS
from keras_maskrcnn.cli.main import main
from keras_maskrcnn.data.formats.convert import WRITERS

TINY = [
    *("--config", "demo_shapes", "--backbone", "resnet14", "--backbone-width", "8"),
    *("--fpn-channels", "16", "--box-head-units", "[16]", "--mask-head-channels", "[16]"),
    *("--mask-deconv-channels", "16", "--image-min-size", "64", "--image-max-size", "64"),
    *("--rpn-post-nms-top-n-train", "20", "--rpn-post-nms-top-n-test", "20"),
]


@pytest.fixture
def shapes(tmp_path):
    return km.data.shapes.generate(tmp_path / "shapes", 12, size=64)


def test_every_target_can_be_chosen():
    assert set(TARGETS) == set(WRITERS)


def test_inspect(shapes, tmp_path, capsys):
    path = pathlib.Path(shapes.records[3].path)
    path.write_bytes(path.read_bytes()[:400])
    output = tmp_path / "out"
    assert main(["inspect-dataset", str(tmp_path / "shapes"), "--output", str(output)]) == 0
    out = capsys.readouterr().out
    for part in ("of them broken", "64 x 64", "small: area below", "triangle", "is truncated"):
        assert part in out
    assert "is truncated" in (output / "problems.txt").read_text()
    assert cv2.imread(str(output / "contact_sheet.png")).std() > 10


def test_inspect_goes_on_where_much_is_broken(shapes, tmp_path, capsys):
    for record in shapes.records[1:]:
        pathlib.Path(record.path).write_bytes(b"")
    options = ["--output", str(tmp_path / "out"), "--pictures", "1"]
    assert main(["inspect-dataset", str(tmp_path / "shapes"), *options]) == 0
    assert "11 problems in" in capsys.readouterr().out


def test_inspect_without_an_object(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").mkdir()
    empty = np.zeros((20, 30), np.uint8)
    PIL.Image.fromarray(empty).save(tmp_path / "masks/a.png")
    PIL.Image.fromarray(empty).save(tmp_path / "images/a.png")
    assert main(["inspect-dataset", str(tmp_path), "--output", str(tmp_path / "out")]) == 0


def test_strict_exits_with_1_where_anything_is_doubtful(shapes, tmp_path, capsys):
    command = ["inspect-dataset", str(tmp_path / "shapes"), "--output", str(tmp_path / "out")]
    assert main([*command, "--strict"]) == 0
    path = tmp_path / "shapes/annotations.json"
    content = json.loads(path.read_text())
    good = json.dumps(content)
    content["categories"].append({"id": 99, "name": "unicorn"})
    path.write_text(json.dumps(content))
    assert main(command) == 0
    assert main([*command, "--strict"]) == 1
    assert "classes without an object" in capsys.readouterr().out
    content = json.loads(good)
    content["annotations"][0]["bbox"] = [0, 0, 1, 1]
    path.write_text(json.dumps(content))
    assert main([*command, "--strict"]) == 1
    assert "contradicts its segmentation" in (tmp_path / "out/problems.txt").read_text()
    content = json.loads(good)
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    path.write_text(json.dumps(content))
    capsys.readouterr()
    assert main([*command, "--strict"]) == 1
    assert "annotations are crowds" in capsys.readouterr().out


def test_training_says_what_it_would_not_make_of_the_data(shapes, tmp_path, capsys, eagerly):
    path = tmp_path / "shapes/annotations.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 99, "name": "unicorn"})
    path.write_text(json.dumps(content))
    options = ["--train-data", str(tmp_path / "shapes"), "--epochs", "1", "--batch-size", "4"]
    options += ["--max-gt-boxes", "1", "--output", str(tmp_path / "run")]
    assert main(["train", *options, *TINY]) == 0
    said = capsys.readouterr().err
    assert said.count("objects (max_gt_boxes)") == 1
    assert said.count("1 of 7 classes without an object, which cannot be learnt: unicorn") == 1


def test_convert_says_what_is_lost(shapes, tmp_path, capsys):
    options = ["--to", "mask-png", "--output", str(tmp_path / "out"), "--link-images"]
    assert main(["convert-dataset", str(tmp_path / "shapes"), *options]) == 0
    objects = sum(len(record.instances) for record in shapes.records)
    out = capsys.readouterr().out
    assert f"12 images and {objects} objects as mask-png" in out
    assert f"not held by mask-png: {objects} objects that lose their class" in out
    assert len(km.data.open_dataset(tmp_path / "out")) == 12


def test_convert_takes_a_class_attribute(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    shape = {"name": "rect", "x": 2, "y": 3, "width": 9, "height": 9}
    region = {"shape_attributes": shape, "region_attributes": {"kind": "cat", "colour": "red"}}
    entry = {"filename": "a.png", "size": 1, "regions": [region]}
    (tmp_path / "via.json").write_text(json.dumps({"a.png1": entry}))
    command = ["convert-dataset", str(tmp_path / "via.json"), "--to", "coco"]
    command += ["--output", str(tmp_path / "out")]
    assert main(command) == 2
    assert "--class-attribute" in capsys.readouterr().err
    assert main([*command, "--class-attribute", "kind"]) == 0
    assert km.data.open_dataset(tmp_path / "out").class_names == ("cat",)


@pytest.mark.slow
def test_train_on_one_format_and_evaluate_on_another(shapes, tmp_path, eagerly):
    for target in ("labelme", "voc"):
        km.data.convert(shapes, target, tmp_path / target)
    names = tmp_path / "voc/ImageSets/Segmentation/all.txt"
    names.write_text("\n".join(names.read_text().splitlines()[:3]))
    run, voc = str(tmp_path / "run"), str(names)
    options = ["--train-data", str(tmp_path / "labelme"), "--val-data", voc, "--epochs", "1"]
    assert main(["train", *options, *TINY, "--batch-size", "4", "--output", run]) == 0
    config = km.MaskRCNNConfig.from_yaml(tmp_path / "run/config.yaml")
    assert config.class_names == tuple(sorted(shapes.class_names))
    command = ["evaluate", "--run", run, "--data", voc, "--json", str(tmp_path / "ap.json")]
    assert main(command) == 0
    results = json.loads((tmp_path / "ap.json").read_text())
    assert results == json.loads((tmp_path / "run/results.json").read_text())


def test_what_stops_the_input_pipeline_is_said_without_traceback(
    shapes, tmp_path, monkeypatch, capsys
):
    for record in shapes.records[:6]:
        pathlib.Path(record.path).write_bytes(b"")
    dataset = km.data.open_dataset(tmp_path / "shapes")
    monkeypatch.setattr(training_run, "train", lambda _, config, __: list(dataset.batches(config)))
    assert main(["train", "--train-data", str(tmp_path / "shapes"), *TINY]) == 2
    first, *others = capsys.readouterr().err.strip().splitlines()
    assert "6 of 12 images cannot be used, more than 10%" in first
    assert sum("the image file is empty" in line for line in others) == 6
