import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_maskrcnn.training.schedules import WarmupMultiStep, detectron_schedule


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


@pytest.mark.parametrize(("length", "steps"), [("1x", 90_000), ("2x", 180_000), ("3x", 270_000)])
def test_detectron_schedules(length, steps):
    """0.001 of 0.02 at first, 0.02 after 1000 steps, a tenth and a hundredth near the end."""
    schedule, number = detectron_schedule(length, batch_size=16)
    assert number == steps
    falls = {"1x": (60e3, 80e3), "2x": (120e3, 160e3), "3x": (210e3, 250e3)}[length]
    for step in (0, 500, 999, falls[0] - 1, falls[0], falls[1] - 1, falls[1], steps - 1):
        # Detectron2's WarmupMultiStepLR with warmup_factor 0.001 and warmup_iters 1000
        share = min(step / 1000, 1.0)
        expected = 0.02 * (0.001 * (1 - share) + share) * 0.1 ** sum(step >= fall for fall in falls)
        assert float(schedule(step)) == pytest.approx(expected, rel=2e-3)


@given(batch_size=st.integers(1, 512), length=st.sampled_from(["1x", "2x", "3x"]))
def test_detectron_schedule_scales_with_the_batch(batch_size, length):
    """After as many images the rate has gone as far, and is as many times larger."""
    reference, _ = detectron_schedule(length, 16)
    schedule, steps = detectron_schedule(length, batch_size)
    assert steps * batch_size == pytest.approx(
        {"1x": 1.44e6, "2x": 2.88e6, "3x": 4.32e6}[length], abs=batch_size
    )
    assert schedule.learning_rate == pytest.approx(reference.learning_rate * batch_size / 16)
    images = [milestone * batch_size for milestone in schedule.milestones]
    np.testing.assert_allclose(images, np.array(reference.milestones) * 16, atol=batch_size)
    assert schedule.warmup_steps * batch_size == pytest.approx(16000, abs=batch_size)


def test_detectron_schedule_takes_a_rate_and_warmup():
    schedule, _ = detectron_schedule("1x", 2, learning_rate=1e-4, warmup_steps=10)
    assert (schedule.learning_rate, schedule.warmup_steps) == (1e-4, 10)


@pytest.mark.parametrize(("length", "batch_size"), [("4x", 16), ("1x", 0)])
def test_detectron_schedule_refuses(length, batch_size):
    with pytest.raises(ValueError, match="1x, 2x, 3x and batch_size at least 1"):
        detectron_schedule(length, batch_size)
