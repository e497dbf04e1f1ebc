"""What is installed, and what the presets and configs are."""

import importlib.metadata

import pytest

import keras_maskrcnn as km
from keras_maskrcnn.cli.main import main
from keras_maskrcnn.weights.presets import PRESETS


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


@pytest.mark.parametrize("installed", [True, False])
def test_another_project_in_the_same_folder_is_told(installed, monkeypatch, capsys):
    def version(name):
        assert name == "keras-maskrcnn"
        if installed:
            return "0.2.2"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert main(["info"]) == 0
    told = "keras-maskrcnn 0.2.2 is installed here too" in capsys.readouterr().err
    assert told == installed
