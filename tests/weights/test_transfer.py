import numpy as np
import pytest

from keras_maskrcnn import MaskRCNN
from keras_maskrcnn.weights.transfer import spread_kernel, transfer_weights


@pytest.fixture(scope="module")
def source(small_config):
    return MaskRCNN(small_config)


def load_from(source):
    return lambda model: model.set_weights(source.get_weights())


def assert_close(features, expected):
    for level, values in expected.items():
        np.testing.assert_allclose(features[level], values, rtol=0, atol=1e-5 * np.max(values))


def test_same_classes_take_everything(source, small_config):
    model = MaskRCNN(small_config)
    transfer_weights(model, 3, load_from(source))
    for ours, theirs in zip(model.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("num_classes", [1, 2, 7])
def test_other_classes_leave_the_last_layers_as_they_are(source, small_config, num_classes):
    model = MaskRCNN(small_config, num_classes=num_classes, class_names=[])
    last = [model.box_head.classes, model.box_head.deltas]
    last = [variable for layer in last for variable in layer.weights]
    last += [model.mask_head.predictor_kernel, model.mask_head.predictor_bias]
    before = [variable.numpy() for variable in last]
    transfer_weights(model, 3, load_from(source))
    for variable, value in zip(last, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    kept = {id(variable) for variable in last}
    for ours, theirs in zip(model.weights, source.weights, strict=True):
        if id(ours) not in kept:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("channels", range(3, 17))
def test_a_kernel_is_spread_over_channels_that_share_it(channels):
    kernel = np.random.default_rng(0).normal(size=(7, 7, 3, 5))
    spread = spread_kernel(kernel, channels)
    assert spread.shape == (7, 7, channels, 5)
    sharing = [sum(j % 3 == i for j in range(channels)) for i in range(3)]
    for i in range(channels):
        np.testing.assert_allclose(spread[:, :, i], kernel[:, :, i % 3] / sharing[i % 3])
    # Equal channels, and copies of RGB, give what RGB gives.
    grey, rgb = np.ones(3), np.array([0.1, 0.7, 0.4])
    for pixel in (grey, rgb):
        copied = pixel[np.arange(channels) % 3]
        np.testing.assert_allclose(
            np.einsum("hwco,c->hwo", spread, copied), np.einsum("hwco,c->hwo", kernel, pixel)
        )


def test_more_channels_see_copies_as_the_weights_saw_rgb(source, small_config):
    means = [small_config.pixel_mean[i] for i in (0, 1, 2, 0, 1)]
    model = MaskRCNN(small_config, channels=5, pixel_mean=means, num_classes=2, class_names=[])
    with pytest.warns(UserWarning, match="for 3 channels, the model has 5: the stem's kernel is"):
        transfer_weights(model, 3, load_from(source), channels=3)
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    sizes = np.array([[64, 64]])
    expected = source.extract_features(images, sizes)
    features = model.extract_features(images[..., [0, 1, 2, 0, 1]], sizes)
    assert_close(features, expected)


@pytest.mark.parametrize("channels", [1, 2])
def test_fewer_channels_are_seen_as_equal_ones_of_rgb(source, small_config, channels):
    model = MaskRCNN(small_config, channels=channels, pixel_range=(0, 1))
    transfer_weights(model, 3, load_from(source), channels=3)
    grey = np.random.default_rng(0).uniform(0, 1, (1, 64, 64, 1)).astype(np.float32)
    sizes = np.array([[64, 64]])
    expected = source.extract_features(np.repeat(255 * grey, 3, axis=-1), sizes)
    features = model.extract_features(np.repeat(grey, channels, axis=-1), sizes)
    assert_close(features, expected)


def test_fewer_channels_than_the_weights_have_are_refused(small_config):
    with pytest.raises(ValueError, match="weights are for 6 channels, the model has 4"):
        transfer_weights(MaskRCNN(small_config, channels=4), 3, lambda model: None, channels=6)


def test_weights_that_do_not_fit_change_nothing(source, small_config):
    model = MaskRCNN(small_config, num_classes=2, class_names=[], fpn_channels=32)
    before = model.get_weights()
    with pytest.raises(ValueError, match="shape"):
        transfer_weights(model, 3, load_from(source))
    for ours, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, old)
