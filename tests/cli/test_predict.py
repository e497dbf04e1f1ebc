"""Predictions from the command line."""

import json
import pathlib
import shutil

import keras_maskrcnn as km
from keras_maskrcnn.cli import parser
from keras_maskrcnn.cli.main import main
from keras_maskrcnn.config import FIELDS_AFTER_TRAINING


def test_predict_draws_and_lists_and_passes_over_bad_files(run, data, tmp_path, capsys):
    _, images = data["val"]
    pictures = tmp_path / "pictures"
    shutil.copytree(images, pictures)
    (pictures / "broken.jpg").write_bytes(b"no picture")
    output = tmp_path / "out"
    options = ["--output", str(output), "--score-threshold", "0", "--box-score-threshold", "0"]
    assert main(["predict", "--run", str(run), str(pictures), *options]) == 1
    assert "broken.jpg" in capsys.readouterr().err
    assert len(list(output.glob("*.png"))) == 3
    results = json.loads((output / "results.json").read_text())
    assert {"image_id", "category_id", "bbox", "score", "segmentation", "file_name"} <= set(
        results[0]
    )


def test_predict_keeps_pictures_of_one_name_apart(run, data, tmp_path):
    _, images = data["val"]
    shutil.copytree(images, tmp_path / "copy")
    number = km.MaskRCNNConfig.from_yaml(run / "config.yaml").num_classes
    options = ["--model", str(run / "best.keras"), "--output", str(tmp_path / "out")]
    options += ["--class-score-thresholds", str([1.0] * (number - 1) + [0.0])]
    assert main(["predict", images, str(tmp_path / "copy"), *options]) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 6
    found = json.loads((tmp_path / "out/results.json").read_text())
    assert {entry["category_id"] for entry in found} == {number - 1}
    assert min(entry["score"] for entry in found) < 0.5


def test_annotations_to_correct(run, data, tmp_path, capsys, error_of):
    _, images = data["val"]
    options = ["--score-threshold", "0", "--box-score-threshold", "0"]
    command = ["predict", "--run", str(run), images, *options, "--as", "yolo"]
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    dataset = km.data.open_dataset(tmp_path / "out")
    objects = sum(len(record.instances) for record in dataset.records)
    assert f"{objects} objects in 3 of 3 pictures as yolo" in said
    assert objects > 0
    assert "choose another --output" in error_of([*command, "--output", str(tmp_path / "out")])
    assert "not for videos and lists" in error_of([*command, "--input-list", images])


def test_only_what_can_change_after_training_is_an_option(error_of):
    for verb in (["predict", "a.jpg"], ["evaluate", "--data", "a"], ["export", "--output", "a"]):
        assert "--backbone" in error_of([*verb, "--run", "a", "--backbone", "resnet50"])
        for name in FIELDS_AFTER_TRAINING:
            value = "portable" if name == "roi_implementation" else "7"
            option = [f"--{name.replace('_', '-')}", value]
            assert str(vars(parser.build().parse_args([*verb, *option]))[name]) in (value, "7.0")


def test_predict_in_tiles(run, data, tmp_path, error_of, monkeypatch, capsys):
    _, images = data["val"]
    files = sorted(str(path) for path in pathlib.Path(images).iterdir())[:2]
    options = ["--run", str(run), "--box-score-threshold", "0", "--score-threshold", "0"]
    options += ["--tile-size", "40", "--tile-overlap", "0.3", "--batch-size", "4"]
    monkeypatch.setattr("keras_maskrcnn.cli.predict.MOST_DRAWN", 64 * 64 - 1)
    assert main(["predict", *options, "--output", str(tmp_path / "out"), *files]) == 0
    assert "not drawn" in capsys.readouterr().err
    (tmp_path / "list.txt").write_text("\n".join([*files, "none.png"]))
    output = tmp_path / "results.json"
    listed = ["--input-list", str(tmp_path / "list.txt"), "--output", str(output)]
    assert main(["predict", *options, *listed]) == 1
    alone, of_list = (json.loads(p.read_text()) for p in (tmp_path / "out/results.json", output))
    assert alone == of_list
    assert len(alone) > 0
    assert "none.png" in (tmp_path / "results.errors.jsonl").read_text()
    assert "tile_size" in error_of(["predict", "--run", str(run), "--tile-size", "8", *files])
    assert "tile_overlap" in error_of(["predict", *options, "--tile-overlap", "1", *files])


def test_what_is_found_in_a_picture_that_cannot_be_drawn_is_kept(
    run, data, tmp_path, monkeypatch, capsys
):
    def refuse(data, where, config):
        raise ValueError(f"{where}: of which only windows can be read")

    monkeypatch.setattr("keras_maskrcnn.data.stored.decode_to_show", refuse)
    _, images = data["val"]
    options = ["--score-threshold", "0", "--box-score-threshold", "0", "--output", str(tmp_path)]
    assert main(["predict", "--run", str(run), images, *options]) == 0
    assert capsys.readouterr().err.count("not drawn: ") == 3
    entries = json.loads((tmp_path / "results.json").read_text())
    assert {entry["image_id"] for entry in entries} == {1, 2, 3}
