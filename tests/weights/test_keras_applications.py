"""The backbones of keras.applications against keras.applications itself."""

import h5py
import keras
import numpy as np
import pytest

from keras_maskrcnn import MaskRCNN


@pytest.fixture(scope="module")
def reference():
    """A ResNet-50 whose weights are all random, biases and statistics too."""
    model = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(64, 96, 3))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name == "gamma":
            weight.assign(rng.uniform(0.2, 0.4, weight.shape))
        elif weight.name == "moving_variance":
            weight.assign(rng.uniform(0.8, 1.2, weight.shape))
        elif weight.name != "kernel":
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return model


@pytest.fixture(scope="module")
def checkpoint(reference, tmp_path_factory):
    """Its weights as they are published: `layer/layer/weight:0`."""
    path = tmp_path_factory.mktemp("weights") / "resnet50_notop.h5"
    with h5py.File(path, "w") as file:
        for layer in reference.layers:
            for weight in layer.weights:
                file[f"{layer.name}/{layer.name}/{weight.name}:0"] = np.asarray(weight)
    return path


def test_features_are_those_of_keras_applications(reference, checkpoint, pixels):
    stages = [reference.get_layer(f"conv{i}_block{n}_out") for i, n in ((3, 4), (5, 3))]
    outputs = keras.Model(reference.input, [stage.output for stage in stages])
    expected = outputs(keras.applications.resnet.preprocess_input(pixels.copy()))
    model = MaskRCNN.from_checkpoint(checkpoint, num_classes=2)
    assert model.config.backbone == "resnet50"
    normalized = (pixels - np.array(model.config.pixel_mean)).astype(np.float32)
    features = model.backbone(normalized)
    for stage, values in zip(("res3", "res5"), expected, strict=True):
        values = values.numpy()
        np.testing.assert_allclose(features[stage], values, atol=1e-4 * np.abs(values).max())


def test_fields_that_contradict_are_named(checkpoint):
    model = MaskRCNN(backbone="resnet14", backbone_width=8)
    with pytest.raises(ValueError, match="backbone: the checkpoint has resnet50"):
        model.import_weights(checkpoint)


def test_a_whole_saved_model_is_read_too(reference, checkpoint, tmp_path):
    reference.save(tmp_path / "resnet50.h5")
    ours = MaskRCNN.from_checkpoint(tmp_path / "resnet50.h5", num_classes=2)
    theirs = MaskRCNN.from_checkpoint(checkpoint, num_classes=2)
    for a, b in zip(ours.backbone.weights, theirs.backbone.weights, strict=True):
        np.testing.assert_array_equal(a, b)
