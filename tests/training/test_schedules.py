import keras
import numpy as np

from keras_maskrcnn.training.schedules import WarmupMultiStep


def test_rises_stays_and_falls():
    schedule = WarmupMultiStep(0.02, warmup_steps=4, milestones=[10, 20], factor=0.1)
    rates = [float(schedule(step)) for step in (0, 1, 3, 4, 9, 10, 19, 20, 1000)]
    expected = [0.005, 0.01, 0.02, 0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_constant_by_default():
    assert float(WarmupMultiStep(0.1)(0)) == np.float32(0.1)


def test_config_round_trip_through_an_optimizer():
    optimizer = keras.optimizers.SGD(WarmupMultiStep(0.02, 5, [7], 0.5))
    copy = keras.optimizers.SGD.from_config(optimizer.get_config())
    for step in (0, 4, 6, 8):
        optimizer.iterations.assign(step)
        copy.iterations.assign(step)
        assert float(copy.learning_rate) == float(optimizer.learning_rate)
