"""The convolutions of the heads: their names, widths, norm and rectifier."""

import keras
import numpy as np
import tensorflow as tf

from keras_maskrcnn.backbones.conv_norm import FusedBatchNorm
from keras_maskrcnn.backbones.sequential import build_sequential
from keras_maskrcnn.roi.conv_tower import conv_tower


def test_every_layer_has_its_settings():
    tower = conv_tower((4, 6), "batch_norm", 1e-3, keras.DTypePolicy("mixed_bfloat16"))
    build_sequential(tower, 3)
    assert [conv.name for conv in tower] == ["conv1", "conv2"]
    assert [tuple(conv.kernel.shape) for conv in tower] == [(3, 3, 3, 4), (3, 3, 4, 6)]
    assert all(isinstance(conv.norm, FusedBatchNorm) for conv in tower)
    assert {conv.norm.epsilon for conv in tower} == {1e-3}
    outputs = tower[0](tf.random.stateless_normal((1, 4, 4, 3), (1, 2)))
    assert (outputs.dtype, outputs.shape) == (tf.bfloat16, (1, 4, 4, 4))
    assert float(tf.reduce_min(outputs)) == 0.0


def test_layers_of_the_same_shape_start_differently():
    tower = conv_tower((3, 3), None, 1e-5, keras.DTypePolicy("float32"))
    build_sequential(tower, 3)
    assert np.abs(tower[0].kernel.numpy() - tower[1].kernel.numpy()).max() > 0.01


def test_no_channels_make_no_layers():
    assert conv_tower((), None, 1e-5, keras.DTypePolicy("float32")) == []
