"""The learning rate over a training run."""

from collections.abc import Sequence

import keras
import tensorflow as tf

# Of Detectron and Detectron2, for batches of 16 images: all steps, and those where the rate falls.
DETECTRON_SCHEDULES = {
    "1x": (90_000, (60_000, 80_000)),
    "2x": (180_000, (120_000, 160_000)),
    "3x": (270_000, (210_000, 250_000)),
}
DETECTRON_BATCH_SIZE, DETECTRON_WARMUP_STEPS, DETECTRON_RATE = 16, 1000, 0.02


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class WarmupMultiStep(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly, stays, and falls by a factor at each milestone: Detectron's schedule.

    Args:
        learning_rate: The rate between warm-up and the first milestone.
        warmup_steps: Steps until it is reached; step s has the share (s + 1) / warmup_steps, so
            that the first of 1000 has a thousandth, as in Detectron.
        milestones: Steps at which the rate is multiplied by `factor`.
        factor: See `milestones`.

    Example:
        >>> schedule = WarmupMultiStep(0.02, warmup_steps=1000, milestones=[60000, 80000])
        >>> round(float(schedule(60000)), 4)
        0.002
    """

    def __init__(
        self,
        learning_rate: float,
        warmup_steps: int = 0,
        milestones: Sequence[int] = (),
        factor: float = 0.1,
    ):
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.milestones = tuple(milestones)
        self.factor = factor

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        warmup = tf.minimum((step + 1.0) / max(self.warmup_steps, 1), 1.0)
        passed = sum(tf.cast(step >= milestone, tf.float32) for milestone in self.milestones)
        return self.learning_rate * warmup * self.factor**passed

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "milestones": self.milestones,
            "factor": self.factor,
        }


def warmup_cosine(
    learning_rate: float, steps: int, warmup_steps: int
) -> keras.optimizers.schedules.CosineDecay:
    """Rises linearly from a thousandth, and falls along a cosine to 0 at the last step.

    Args:
        learning_rate: The peak rate.
        steps: Of the whole run.
        warmup_steps: Until the peak.

    Example:
        >>> schedule = warmup_cosine(0.01, steps=1000, warmup_steps=100)
        >>> [round(float(schedule(step)), 5) for step in (0, 100, 1000)]
        [1e-05, 0.01, 0.0]
    """
    return keras.optimizers.schedules.CosineDecay(
        learning_rate / 1000,
        max(steps - warmup_steps, 1),
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )


def detectron_schedule(
    length: str,
    batch_size: int,
    learning_rate: float | None = None,
    warmup_steps: int | None = None,
) -> tuple[WarmupMultiStep, int]:
    """Detectron's schedule for a batch size, and the number of its steps.

    The rate is proportional to the batch size, and the steps are to its inverse: the same number
    of images is seen (Goyal et al. 2017, and Detectron2's `auto_scale_workers`).

    Args:
        length: `"1x"`, `"2x"` or `"3x"`: 90,000, 180,000 or 270,000 steps of 16 images.
        batch_size: Images a step.
        learning_rate: The peak rate (default: 0.02 * batch_size / 16).
        warmup_steps: Of the linear warm-up (default: 1000 * 16 / batch_size).

    Raises:
        ValueError: An unknown length, or a batch size below 1.

    Example:
        >>> schedule, steps = detectron_schedule("1x", batch_size=2)
        >>> schedule.learning_rate, schedule.milestones, steps
        (0.0025, (480000, 640000), 720000)
    """
    if length not in DETECTRON_SCHEDULES or batch_size < 1:
        raise ValueError(
            f"length must be one of {', '.join(DETECTRON_SCHEDULES)} and batch_size at least 1, "
            f"got {length!r} and {batch_size}."
        )
    steps, milestones = DETECTRON_SCHEDULES[length]
    scale = batch_size / DETECTRON_BATCH_SIZE
    if learning_rate is None:
        learning_rate = DETECTRON_RATE * scale
    if warmup_steps is None:
        warmup_steps = round(DETECTRON_WARMUP_STEPS / scale)
    scaled = [round(milestone / scale) for milestone in milestones]
    return WarmupMultiStep(learning_rate, warmup_steps, scaled), round(steps / scale)
