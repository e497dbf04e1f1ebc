"""The example with a small checkpoint in Detectron2's layout, on generated shapes."""

import csv
import pickle

import keras
import numpy as np
import pytest

from keras_maskrcnn import MaskRCNN
from keras_maskrcnn.weights import detectron2
from keras_maskrcnn.weights.layout import sources


@pytest.fixture(scope="module")
def finetune(load_example):
    return load_example("finetune")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A file of a small model of five classes, and the kernel of its stem."""
    keras.utils.set_random_seed(0)
    small = {"backbone": "resnet14", "backbone_width": 8, "fpn_channels": 16, "num_classes": 5}
    heads = {"box_head_units": (32, 32), "mask_head_channels": (16,), "mask_deconv_channels": 16}
    model = MaskRCNN("mask_rcnn_resnet50_fpn", **small, **heads)
    tensors = {}
    for variable, name, _ in sources(model, detectron2):
        value = variable.numpy()
        if name.endswith("mask_head.predictor.weight"):
            value = value[..., None, None]
        elif value.ndim > 1:
            value = np.moveaxis(value, (-1, -2), (0, 1))
        tensors[name] = value
    path = tmp_path_factory.mktemp("weights") / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": tensors, "__author__": "test"}))
    return path, model.backbone.get_weights()[0]


@pytest.mark.slow
def test_new_classes_and_frozen_stages(finetune, checkpoint, tmp_path):
    path, stem = checkpoint
    options = ["--images", "6", "--epochs", "2", "--image-size", "64", "--freeze-at", "2"]
    finetune.main(["--weights", str(path), *options, "--output", str(tmp_path)])
    best = keras.models.load_model(tmp_path / "best.keras")
    assert best.config.class_names == finetune.CLASSES
    # The file's model sees BGR.
    np.testing.assert_array_equal(best.backbone.get_weights()[0], stem[:, :, ::-1])
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert {"val_mask_ap", "learning_rate", "images_per_second"} <= rows[0].keys()
    assert list((tmp_path / "tensorboard/validation").glob("events.*"))


def test_annotations_to_train_on_need_some_to_evaluate_on(finetune, capsys, tmp_path):
    options = ["--preset", "any", "--train", "train.json", "images", "--output", str(tmp_path)]
    with pytest.raises(SystemExit):
        finetune.main(options)
    assert "--train and --val belong together" in capsys.readouterr().err
