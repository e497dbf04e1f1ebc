"""Copies for inference alone: batch norms folded away, weights of the type computed in."""

import keras
import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn.backbones.conv_norm import ConvNorm
from keras_maskrcnn.export.folding import folded_copy


@pytest.fixture(scope="module")
def model(small_config):
    keras.utils.set_random_seed(0)
    model = km.MaskRCNN(small_config, head_norm="batch_norm", box_score_threshold=0.0)
    for layer in model._flatten_layers():
        if isinstance(layer, ConvNorm) and layer.norm is not None:
            layer.norm.moving_mean.assign(np.random.default_rng(0).normal(0, 0.1, layer.filters))
            layer.norm.moving_variance.assign(np.full(layer.filters, 2.0))
    return model


def test_a_folded_model_is_the_same_model(model, batch):
    x, _ = batch
    weights, before = model.get_weights(), model.stages(x)
    copy = folded_copy(model, "portable", keras.DTypePolicy("float32"))
    after = copy.stages(x)
    norms = [layer.norm for layer in copy._flatten_layers() if isinstance(layer, ConvNorm)]
    assert len(norms) > 10
    assert not any(norms)
    for level, features in before["features"].items():
        scale = np.abs(features).max()
        assert np.abs(after["features"][level] - features).max() <= 1e-5 * scale
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_kernels_are_rounded_once(model):
    """Folded in float32, whatever the copy computes in."""
    copies = [
        folded_copy(model, "portable", keras.DTypePolicy(policy))
        for policy in ("float32", "mixed_bfloat16")
    ]
    for exact, half in zip(*(copy._flatten_layers() for copy in copies), strict=True):
        if isinstance(half, ConvNorm) and half.compute_dtype == "bfloat16":
            assert half.kernel.dtype == "bfloat16"
            rounded = keras.ops.cast(exact.kernel, "bfloat16")
            np.testing.assert_array_equal(half.kernel.numpy(), rounded.numpy())
