"""The command line, from a training run to pictures, and what it says of bad input."""

import csv
import json
import pathlib
import pickle
import shutil

import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.cli import parser as cli_parser
from keras_maskrcnn.cli import training_run
from keras_maskrcnn.cli.main import main
from keras_maskrcnn.weights import detectron2
from keras_maskrcnn.weights.layout import sources
from keras_maskrcnn.weights.presets import PRESETS

NARROW = [
    *("--backbone", "resnet14", "--norm", "batch_norm", "--freeze-at", "0"),
    *("--backbone-width", "8", "--fpn-channels", "16", "--box-head-units", "[16]"),
    *("--mask-head-channels", "[16]", "--mask-deconv-channels", "16"),
    *("--image-min-size", "96", "--image-max-size", "96", "--roi-sampling-ratio", "2"),
    *("--rpn-pre-nms-top-n-train", "50", "--rpn-post-nms-top-n-train", "20"),
    *("--rpn-pre-nms-top-n-test", "50", "--rpn-post-nms-top-n-test", "20"),
    *("--anchor-sizes", "[[8], [16], [32], [64], [128]]", "--box-batch-size-per-image", "8"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders with a few pictures each; of a set, annotations and folder as options take them."""
    folder = tmp_path_factory.mktemp("data")
    sets = {}
    for seed, (name, count) in enumerate((("train", 6), ("val", 3))):
        km.data.shapes.generate(folder / name, count, size=96, seed=seed)
        sets[name] = (str(folder / name / "annotations.json"), str(folder / name / "images"))
    return sets


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """The folder of a run of three steps."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main([*train_options(data), "--epochs", "1", "--output", str(folder)]) == 0
    return folder


def train_options(data, *more):
    annotations, images = data["train"]
    options = ["train", "--train-annotations", annotations, "--train-images", images]
    if "val" in data:
        annotations, images = data["val"]
        options += ["--val-annotations", annotations, "--val-images", images]
    return [*options, "--batch-size", "2", *NARROW, *more]


def error_of(capsys, arguments):
    """What the command line says on stderr when it refuses `arguments`."""
    try:
        code = main(arguments)
    except SystemExit as stop:  # argparse's own errors
        code = stop.code
    assert code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_run_folder_holds_everything(run):
    names = {path.name for path in run.iterdir()}
    expected = {"config.yaml", "run.json", "log.csv", "best.keras", "last.keras", "results.json"}
    assert expected | {"samples"} <= names
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


def test_export(run, tmp_path, capsys):
    folder = tmp_path / "serving" / "1"
    options = ["--box-score-threshold", "0.5", "--dtype", "bfloat16", "--pasted-masks"]
    assert main(["export", "--run", str(run), "--output", str(folder), *options]) == 0
    assert "serving_default, serve_sizes, serve_bytes" in capsys.readouterr().out
    assert (folder / "saved_model.pb").is_file()
    names = (folder / "assets/class_names.txt").read_text(encoding="utf-8").splitlines()
    assert tuple(names) == km.MaskRCNNConfig.from_yaml(run / "config.yaml").class_names


@pytest.mark.parametrize(
    ("format", "options"),
    [("onnx", []), ("litert", ["--image-size", "64", "96", "--quantize", "dynamic_int8"])],
)
def test_export_to_a_file(run, tmp_path, format, options):
    file = tmp_path / f"m.{format}"
    command = ["export", "--run", str(run), "--output", str(file), "--format", format]
    assert main([*command, *options]) == 0
    assert file.stat().st_size > 10_000


def test_export_refuses_options_of_other_formats(run, tmp_path, capsys):
    command = ["export", "--run", str(run), "--output", str(tmp_path / "m.onnx")]
    assert main([*command, "--format", "onnx", "--dtype", "bfloat16"]) == 2
    assert "--dtype has no meaning for --format onnx" in capsys.readouterr().err


def test_evaluate_repeats_the_results_of_the_run(run, data, tmp_path, capsys):
    annotations, images = data["val"]
    options = ["--run", str(run), "--annotations", annotations, "--images", images]
    assert main(["evaluate", *options, "--json", str(tmp_path / "ap.json")]) == 0
    results = json.loads((tmp_path / "ap.json").read_text())
    assert results == json.loads((run / "results.json").read_text())
    assert "AP" in capsys.readouterr().out


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
    options = ["--model", str(run / "best.keras"), "--output", str(tmp_path / "out")]
    assert main(["predict", images, str(tmp_path / "copy"), *options]) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 6


def test_info(run, capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "TensorFlow" in out
    assert "mask_rcnn_resnet50_fpn" in out
    assert main(["info", "--run", str(run)]) == 0
    shown = km.MaskRCNNConfig.from_yaml(capsys.readouterr().out)
    assert shown == km.MaskRCNNConfig.from_yaml(run / "config.yaml")
    assert main(["info", "--config", "mask_rcnn_resnet50_fpn"]) == 0
    assert "backbone: resnet50" in capsys.readouterr().out


def test_info_lists_the_presets(capsys):
    assert main(["info", "--presets"]) == 0
    out = capsys.readouterr().out
    for name in PRESETS:
        assert name in out
    row = next(line for line in out.splitlines() if "mask_rcnn_resnet50_fpn_3x_coco" in line)
    assert "41.0" in row
    assert "37.2" in row


def test_training_lists_bad_records_and_needs_no_validation(data, tmp_path, capsys):
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


def test_classes_come_from_the_data():
    config = km.MaskRCNNConfig()
    assert training_run.with_classes(config, ["a", "b"]).class_names == ("a", "b")
    roomy = training_run.with_classes(config.replace(num_classes=3), ["a", "b"], keep_count=True)
    assert (roomy.num_classes, roomy.class_names) == (3, ())
    with pytest.raises(ValueError, match="num_classes=1 is too small"):
        training_run.with_classes(config.replace(num_classes=1), ["a", "b"], keep_count=True)


def test_weights_of_other_classes_leave_only_the_last_layers_new(tmp_path, small_config):
    source, model = km.MaskRCNN(small_config), km.MaskRCNN(small_config)
    source.save_weights(tmp_path / "m.weights.h5")
    training_run.load_weights(model, tmp_path / "m.weights.h5")
    for ours, theirs in zip(model.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)

    frozen = small_config.replace(norm="frozen_batch_norm", num_classes=5, class_names=[])
    write_detectron2(tmp_path / "m.pkl", km.MaskRCNN(frozen))
    fewer = km.MaskRCNN(frozen.replace(num_classes=2))
    training_run.load_weights(fewer, tmp_path / "m.pkl")
    five = km.MaskRCNN.from_checkpoint(tmp_path / "m.pkl")
    np.testing.assert_array_equal(fewer.fpn.lateral[0].kernel, five.fpn.lateral[0].kernel)
    assert fewer.box_head.classes.kernel.shape[-1] == 3


def write_detectron2(path, model):
    """A checkpoint of Detectron2's layout with random tensors for `model`."""
    rng = np.random.default_rng(0)
    tensors = {}
    for variable, name, _ in sources(model, detectron2):
        shape = tuple(variable.shape)[::-1]
        shape = (*shape[:2], *shape[2:][::-1]) if len(shape) == 4 else shape
        if name.endswith("mask_head.predictor.weight"):
            shape = (*shape[::-1], 1, 1)
        tensors[name] = rng.normal(size=shape).astype(np.float32)
    path.write_bytes(pickle.dumps({"model": tensors}))


def test_every_field_of_the_config_is_an_option():
    options = ["predict", "--model", "m.keras", "a.jpg", "--mask", "false", "--num-classes", "3"]
    options += ["--rpn-nms-threshold", "1e-1", "--anchor-sizes", "[[8], [16]]"]
    args = vars(cli_parser.build().parse_args(options))
    assert (args["mask"], args["num_classes"]) == (False, 3)
    assert (args["rpn_nms_threshold"], args["anchor_sizes"]) == (0.1, [[8], [16]])
    assert "backbone" not in args


@pytest.mark.parametrize(
    "verb", ["train", "evaluate", "predict", "inspect-dataset", "convert-dataset", "info"]
)
def test_help_has_examples(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"keras-maskrcnn {verb}" in capsys.readouterr().out.split("examples:")[1]


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
def test_train_refuses(more, message, data, tmp_path, capsys):
    options = train_options({"train": data["train"]}, "--output", str(tmp_path / "run"), *more)
    assert message in error_of(capsys, options)


def test_train_refuses_a_folder_in_use(run, data, capsys):
    error = error_of(capsys, train_options(data, "--output", str(run)))
    assert "not empty" in error
    assert error.count("\n") == 1


def test_models_that_are_none(data, tmp_path, capsys):
    annotations, images = data["val"]
    data_options = ["--annotations", annotations, "--images", images]
    assert "no model file" in error_of(capsys, ["evaluate", "--model", "no.keras", *data_options])
    assert "best.keras" in error_of(capsys, ["evaluate", "--run", str(tmp_path), *data_options])
    (tmp_path / "m.txt").write_text("x")
    assert "expected a .keras file" in error_of(
        capsys, ["predict", "--model", str(tmp_path / "m.txt"), images]
    )
    (tmp_path / "m.keras").write_text("x")
    assert "m.keras" in error_of(capsys, ["predict", "--model", str(tmp_path / "m.keras"), images])
    assert "holds no pictures" in error_of(capsys, ["predict", "--model", "m.keras", str(tmp_path)])


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="Unknown config"):
        main(["info", "--config", "nonsense", "--debug"])
