"""A run of the command line: its folder, its options, and what it refuses."""

import csv
import dataclasses
import json
import pathlib

import pytest

import keras_maskrcnn as km
from keras_maskrcnn.cli import parser, train
from keras_maskrcnn.cli.main import main
from keras_maskrcnn.cli.training_options import TrainingOptions


def test_run_folder_holds_everything(run):
    names = {path.name for path in run.iterdir()}
    expected = {"config.yaml", "run.json", "log.csv", "best.keras", "last.keras", "results.json"}
    assert expected | {"samples", "report"} <= names
    config = km.MaskRCNNConfig.from_yaml(run / "config.yaml")
    assert config.backbone_width == 8
    assert len(config.class_names) == config.num_classes
    with open(run / "log.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1
    assert float(rows[0]["mask_loss"]) > 0
    assert "val_mask_ap" in rows[0]
    assert "mask_ap" in json.loads((run / "results.json").read_text())
    assert json.loads((run / "run.json").read_text())["train_images"] == 6
    assert len(list((run / "samples").glob("*.png"))) == 3


def test_training_lists_bad_records_and_needs_no_validation(
    data, train_options, tmp_path, capsys, eagerly
):
    annotations, images = data["train"]
    content = json.loads(pathlib.Path(annotations).read_text(encoding="utf-8"))
    content["images"][0]["file_name"] = "gone.png"
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(content))
    folder = tmp_path / "run"
    options = train_options({"train": (str(broken), images)}, "--epochs", "1", "--mask", "false")
    assert main([*options, "--optimizer", "adamw", "--output", str(folder)]) == 0
    assert "gone.png" in capsys.readouterr().out
    assert "gone.png" in (folder / "problems.txt").read_text()
    names = {path.name for path in folder.iterdir()}
    assert "last.keras" in names
    assert not {"best.keras", "results.json"} & names


def test_every_option_of_a_run_and_every_field_of_the_config():
    names = {field.name for field in dataclasses.fields(TrainingOptions)}
    assert {name for group in train.GROUPS.values() for name in group} <= names
    options = ["train", "--mask", "false", "--num-classes", "3", "--schedule", "2x"]
    options += ["--rpn-nms-threshold", "1e-1", "--anchor-sizes", "[[8], [16]]", "--ema", "0.99"]
    args = vars(parser.build().parse_args(options))
    assert (args["mask"], args["num_classes"]) == (False, 3)
    assert (args["rpn_nms_threshold"], args["anchor_sizes"]) == (0.1, [[8], [16]])
    assert (args["schedule"], args["ema"]) == ("2x", 0.99)
    assert args.keys() - {"verb", "run_verb", "debug"} == {
        *("mask", "num_classes", "schedule", "rpn_nms_threshold", "anchor_sizes", "ema")
    }
    for name in names | km.MaskRCNNConfig().to_dict().keys():
        option = "--" + name.replace("_", "-")
        value = {"mask": "true", "schedule": "1x", "optimizer": "sgd", "augment": "flip"}
        value = value.get(name, "float16" if name == "mixed_precision" else "1")
        assert name in vars(parser.build().parse_args(["train", option, value]))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--config", "nonsense"], "Unknown config 'nonsense'"),
        (["--config", "none.yaml"], "none.yaml"),
        (["--weights", "none.pkl"], "There is no weights file none.pkl"),
        (["--image-min-size", "960"], "image_min_size (960) must not exceed image_max_size"),
        (["--anchor-sizes", "[[8]"], "--anchor-sizes: not YAML"),
        (["--anchor-sizes", "[[8]]"], "anchor_sizes needs one list a level"),
        (["--num-classes", "1"], "num_classes=1 is too small"),
        (["--num-classes", "two"], "--num-classes: invalid int value"),
        (["--batch-size", "0"], "--batch-size: must be at least 1"),
        (["--val-images", "photos"], "--val-images is the folder of the pictures of --val-data"),
        (["--train-annotations", "none.json"], "none.json"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_train_refuses(more, message, data, train_options, tmp_path, error_of):
    options = train_options({"train": data["train"]}, "--output", str(tmp_path / "run"), *more)
    assert message in error_of(options)


def test_train_refuses_a_folder_in_use(run, data, train_options, error_of):
    error = error_of(train_options(data, "--output", str(run)))
    assert "not empty" in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_other_channels_from_training_to_pictures(
    deep_shapes, train_options, tmp_path, eagerly, capsys
):
    dataset = deep_shapes(4, ".npy")
    data = dict.fromkeys(
        ("train", "val"), (dataset.source, str(pathlib.Path(dataset.source).parent))
    )
    output = tmp_path / "run"
    stored = ["--channels", "4", "--pixel-range", "[0, 65535]", "--augment", "multiscale"]
    assert main(train_options(data, *stored, "--epochs", "1", "--output", str(output))) == 0
    config = km.MaskRCNNConfig.from_yaml(output / "config.yaml")
    assert (config.channels, config.pixel_range) == (4, (0, 65535))
    assert "mask_ap" in json.loads((output / "results.json").read_text())
    assert len(list((output / "samples").glob("*.png"))) == 3
    assert list((output / "report/pictures").glob("*.jpg"))
    found = ["--score-threshold", "0", "--box-score-threshold", "0", "--output"]
    predict = ["predict", "--run", str(output), *found]
    folder = data["train"][1]
    assert main([*predict, str(tmp_path / "found"), folder]) == 0
    assert len(list((tmp_path / "found").glob("*.png"))) == 3
    assert main([*predict, str(tmp_path / "list.json"), "--input-list", folder]) == 0
    listed = json.loads((tmp_path / "list.json").read_text())
    drawn = json.loads((tmp_path / "found/results.json").read_text())
    assert len(listed) == len(drawn) > 0
