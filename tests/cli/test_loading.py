"""The model that the command line names."""

import argparse
import json

import keras
import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.cli.loading import load_model
from keras_maskrcnn.cli.main import main
from keras_maskrcnn.cli.training_run import load_weights
from keras_maskrcnn.weights import presets


def test_models_that_are_none(data, tmp_path, error_of):
    annotations, images = data["val"]
    data_options = ["--annotations", annotations, "--images", images]
    assert "no model file" in error_of(["evaluate", "--model", "no.keras", *data_options])
    assert "best.keras" in error_of(["evaluate", "--run", str(tmp_path), *data_options])
    (tmp_path / "m.txt").write_text("x")
    assert "expected a .keras file" in error_of(
        ["predict", "--model", str(tmp_path / "m.txt"), images]
    )
    (tmp_path / "m.keras").write_text("x")
    assert "m.keras" in error_of(["predict", "--model", str(tmp_path / "m.keras"), images])
    assert "holds no pictures" in error_of(["predict", "--model", "m.keras", str(tmp_path)])


def test_without_a_model_the_presets_are_named(error_of):
    error = error_of(["predict", "photo.jpg"])
    for name in presets.PRESETS:
        assert name in error


def test_fields_that_change_leave_weights_and_precision(small_config, tmp_path):
    model = km.MaskRCNN(small_config, dtype="mixed_bfloat16")
    model.save(tmp_path / "m.keras")
    args = argparse.Namespace(model=str(tmp_path / "m.keras"), run=None, box_score_threshold=0.3)
    changed = load_model(args)
    assert changed.config == small_config.replace(box_score_threshold=0.3)
    assert changed.dtype_policy == keras.DTypePolicy("mixed_bfloat16")
    for ours, theirs in zip(changed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_thresholds_are_taken_from_a_report(small_config, tmp_path, error_of):
    km.MaskRCNN(small_config).save(tmp_path / "m.keras")
    names = small_config.class_names
    rows = {name: {"box_score": score} for name, score in zip(names, (0.5, None, 0.9), strict=True)}
    content = {"class_names": names, "per_class": rows, "main": "box"}
    (tmp_path / "report.json").write_text(json.dumps(content))
    fields = {"box_score_threshold": 0.3, "thresholds_from": tmp_path}
    args = argparse.Namespace(model=str(tmp_path / "m.keras"), run=None, **fields)
    assert load_model(args).config.class_score_thresholds == pytest.approx((0.5, 0.3, 0.9))
    options = ["--thresholds-from", str(tmp_path), "--class-score-thresholds", "[0, 0, 0]"]
    model = ["--model", str(tmp_path / "m.keras")]
    assert "not both" in error_of(["export", *model, "--output", str(tmp_path / "1"), *options])


@pytest.fixture
def preset(small_config, tmp_path, monkeypatch):
    """A preset whose weights have been fetched before, and its model."""
    name, folder = "tiny_coco", tmp_path / "keras/keras_maskrcnn"
    config = small_config.replace(box_score_threshold=0.0, norm_epsilon=1e-3)
    model = km.MaskRCNN(config)
    folder.mkdir(parents=True)
    model.save_weights(folder / f"{name}.weights.h5")
    config.to_yaml(folder / f"{name}.yaml")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    kept = presets.Preset("test", "http://localhost:1/none.pkl", "sha256:0", "none")
    monkeypatch.setitem(presets.PRESETS, name, kept)
    return name, model


def test_a_preset_is_named_wherever_a_model_is(preset, data, tmp_path, capsys, eagerly):
    name, _ = preset
    _, images = data["val"]
    options = ["--output", str(tmp_path / "out"), "--score-threshold", "0"]
    assert main(["predict", "--model", name, images, *options]) == 0
    found = json.loads((tmp_path / "out/results.json").read_text())
    assert {entry["category_name"] for entry in found} <= {"cat", "dog", "sheep"}
    assert len({entry["file_name"] for entry in found}) == 3
    assert main(["info", "--model", name]) == 0
    assert "norm_epsilon: 0.001" in capsys.readouterr().out


def test_a_presets_folder_is_as_good_as_its_name(preset, tmp_path, capsys):
    _, model = preset
    model.save_to_preset(tmp_path / "mine")
    assert main(["info", "--model", str(tmp_path / "mine")]) == 0
    assert "norm_epsilon: 0.001" in capsys.readouterr().out
    with pytest.raises(ValueError, match="norm_epsilon: the preset has 0.001, the model 1e-05"):
        load_weights(km.MaskRCNN("demo_shapes"), tmp_path / "mine")
    found = km.MaskRCNN(model.config.replace(num_classes=6, class_names=[]))
    load_weights(found, tmp_path / "mine")
    np.testing.assert_array_equal(found.backbone.stem.kernel, model.backbone.stem.kernel)
    assert "3 classes and the data 6" in capsys.readouterr().err


def test_an_address_on_a_hub_is_asked_for(data, tmp_path, monkeypatch, error_of):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    annotations, images = data["val"]
    options = ["--train-data", annotations, "--train-images", images, "--epochs", "1"]
    asked = "http://127.0.0.1:1/api/models/me/mine"
    assert asked in error_of(["predict", "--model", "hf://me/mine", images])
    command = ["train", *options, "--weights", "hf://me/mine", "--output", str(tmp_path / "run")]
    assert asked in error_of(command)


def test_training_starts_from_a_preset_and_its_config(
    preset, data, narrow, tmp_path, capsys, eagerly
):
    name, model = preset
    annotations, images = data["train"]
    options = ["--train-data", annotations, "--train-images", images, "--epochs", "1"]
    options += ["--learning-rate", "1e-12", "--freeze-at", "5"]
    run = tmp_path / "run"
    assert main(["train", *options, "--weights", name, "--output", str(run)]) == 0
    assert "3 classes and the data 6" in capsys.readouterr().err
    config = km.MaskRCNNConfig.from_yaml(run / "config.yaml")
    assert (config.norm_epsilon, config.backbone_width, config.num_classes) == (1e-3, 8, 6)
    trained = keras.models.load_model(run / "last.keras")
    kernel = model.backbone.stem.kernel
    np.testing.assert_array_equal(trained.backbone.stem.kernel, kernel)
    for ours, theirs in zip(trained.fpn.weights, model.fpn.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    other = ["--config", "demo_shapes", *narrow]  # of another epsilon
    assert main(["train", *options, "--weights", name, *other]) == 2
    error = capsys.readouterr().err
    assert "norm_epsilon: the preset has 0.001, the model 1e-05" in error
