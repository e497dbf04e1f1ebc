"""The config's choice of pooling, in a layer and in a model that trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import MaskRCNN
from keras_maskrcnn.ops.roi_align import roi_pool
from keras_maskrcnn.roi import RoIAlign, RoIPool, make_pooling

PYRAMID = [np.random.default_rng(i).normal(size=(1, 16 >> i, 16 >> i, 3)) for i in range(4)]
BOXES = np.array([[[4.3, 6.1, 30.7, 41.9], [0.0, 0.0, 64.0, 48.0]]], np.float32)


@pytest.mark.parametrize("implementation", ["auto", "portable"])
def test_roi_pool_is_the_op_with_its_settings(implementation):
    layer = RoIPool(7, implementation=implementation)
    expected = roi_pool(PYRAMID, BOXES, (4, 8, 16, 32), 7)
    np.testing.assert_allclose(layer(PYRAMID, BOXES), expected, atol=1e-6)
    copy = RoIPool.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


def test_the_config_chooses(small_config):
    policy = keras.DTypePolicy("float32")
    align = make_pooling(small_config.replace(roi_aligned=False), 7, (4, 8), policy)
    assert isinstance(align, RoIAlign)
    assert (align.output_size, align.strides, align.aligned) == (7, (4, 8), False)
    pool = make_pooling(small_config.replace(roi_transform="roi_pool"), 5, (16,), policy)
    assert isinstance(pool, RoIPool)
    assert (pool.output_size, pool.strides) == (5, (16,))


@pytest.mark.parametrize(
    "change",
    [
        {"roi_transform": "roi_pool"},
        {"roi_transform": "roi_pool", "roi_implementation": "portable"},
        {"roi_implementation": "portable"},
        {"roi_aggregation": "max"},
    ],
)
def test_a_model_trains_with_it(small_config, batch, change):
    keras.utils.set_random_seed(0)
    model = MaskRCNN(small_config, **change)
    with tf.GradientTape() as tape:
        total = tf.add_n(list(model.training_losses(*batch).values()))
    gradients = tape.gradient(total, model.trainable_weights)
    assert np.isfinite(total)
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)
    assert np.abs(gradients[0]).max() > 0
