import numpy as np
import pytest

from keras_maskrcnn import MaskRCNN
from keras_maskrcnn.weights.transfer import transfer_weights


@pytest.fixture(scope="module")
def source(small_config):
    return MaskRCNN(small_config)


def load_from(source):
    return lambda model: model.set_weights(source.get_weights())


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


def test_weights_that_do_not_fit_change_nothing(source, small_config):
    model = MaskRCNN(small_config, num_classes=2, class_names=[], fpn_channels=32)
    before = model.get_weights()
    with pytest.raises(ValueError, match="shape"):
        transfer_weights(model, 3, load_from(source))
    for ours, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, old)
