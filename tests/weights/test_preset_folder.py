"""Presets in a folder: written, read again, described, and wrong in many ways."""

import json

import h5py
import keras
import numpy as np
import pytest
import yaml

import keras_maskrcnn as km

RESULTS = {"box_ap": 0.5, "box_ap50": 0.75, "box_ap75": float("nan")}
RESULTS |= {"mask_ap": 0.4125, "mask_ap50": 0.7, "mask_ap75": 0.3}


@pytest.fixture(scope="module")
def model(small_config):
    model = km.MaskRCNN(small_config)
    model.compile(optimizer=keras.optimizers.AdamW(1e-3))
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture
def folder(model, tmp_path):
    model.save_to_preset(tmp_path / "a/mine", RESULTS, licence="mit", description="Of *pets*.\n")
    return tmp_path / "a/mine"


def change_config(folder, **fields):
    content = json.loads((folder / "config.json").read_text())
    content["config"]["config"].update(fields)
    (folder / "config.json").write_text(json.dumps(content))


def test_written_and_read_again(model, folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        *("README.md", "config.json", "metadata.json", "model.weights.h5")
    ]
    read = km.MaskRCNN.from_preset(folder)
    assert read.config == model.config
    for ours, theirs in zip(read.trainable_weights, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not read.compiled
    with h5py.File(folder / "model.weights.h5") as file:
        assert "optimizer" not in file
    assert json.loads((folder / "metadata.json").read_text())["keras_version"] == keras.__version__


def test_written_over_an_older_one(model, folder):
    model.save_to_preset(folder)
    assert "not measured" in (folder / "README.md").read_text()
    km.MaskRCNN.from_preset(str(folder))


def test_other_classes_and_another_precision(folder):
    model = km.MaskRCNN.from_preset(folder, num_classes=2, dtype="mixed_bfloat16", freeze_at=3)
    assert (model.config.num_classes, model.config.class_names) == (2, ())
    assert model.dtype_policy.name == "mixed_bfloat16"


def test_keras_loads_it_too(model, folder):
    read = keras.models.load_model(folder)
    assert type(read) is km.MaskRCNN
    np.testing.assert_array_equal(read.backbone.stem.kernel, model.backbone.stem.kernel)


def test_half_precision_halves_the_file(model, folder, tmp_path):
    half = km.MaskRCNN(model.config, dtype="float16")
    half.set_weights(model.get_weights())
    half.save_to_preset(tmp_path / "half")
    sizes = [(f / "model.weights.h5").stat().st_size for f in (tmp_path / "half", folder)]
    assert sizes[0] < 0.7 * sizes[1]  # what names the variables stays
    read = km.MaskRCNN.from_preset(tmp_path / "half")
    assert read.dtype_policy.name == "float32"
    for ours, theirs in zip(read.trainable_weights, model.trainable_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-7)


def test_the_card(folder):
    card = (folder / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header)["license"] == "mit"
    assert yaml.safe_load(header)["library_name"] == "keras"
    assert body.startswith("\n# mine\n\nOf *pets*.\n\nMask R-CNN (resnet14, FPN) of 3 classes:")
    assert "classes: cat, dog, sheep." in body
    assert "| box | 50.0 | 75.0 | - |" in body
    assert "| mask | 41.2 | 70.0 | 30.0 |" in body
    assert "Licence of the weights: mit." in body


def test_a_card_of_what_is_not_known(small_config, tmp_path):
    km.MaskRCNN(small_config, class_names=(), mask=False).save_to_preset(tmp_path / "m")
    card = (tmp_path / "m/README.md").read_text()
    assert "3 classes: their names are not known." in card
    assert "Licence of the weights: not stated." in card
    assert "license" not in yaml.safe_load(card.split("---\n")[1])


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_folder_that_is_no_preset(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"mine has no {name}: it is no preset"):
        km.MaskRCNN.from_preset(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json: not JSON"),
        ("[1]", r"config.json is not of a MaskRCNN, but of '\[1\]'"),
        ('{"class_name": "Sequential", "config": {"layers": []}}', "but of 'Sequential'"),
        ('{"config": {"config": {"num_clases": 3}}}', "config.json: .*did you mean 'num_classes'"),
    ],
)
def test_configs_of_something_else(folder, content, message):
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        km.MaskRCNN.from_preset(folder)


def test_classes_that_contradict_each_other(folder):
    change_config(folder, num_classes=4)
    with pytest.raises(ValueError, match=r"config.json: class_names .*3.*4"):
        km.MaskRCNN.from_preset(folder)
    change_config(folder, class_names=[])
    message = r"(?s)weights.h5 does not go with this model \(changed: nothing\).*save_to_preset"
    with pytest.raises(ValueError, match=message):
        km.MaskRCNN.from_preset(folder)


def test_layers_that_the_weights_lack(folder):
    with pytest.raises(ValueError, match=r"\(changed: backbone\)"):
        km.MaskRCNN.from_preset(folder, backbone="resnet26")


def test_damaged_weights(folder):
    weights = folder / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ValueError, match="(?s)weights.h5 does not go .* fetch it again"):
        km.MaskRCNN.from_preset(folder)
