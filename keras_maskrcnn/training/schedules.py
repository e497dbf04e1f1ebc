"""The learning rate over a training run."""

from collections.abc import Sequence

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class WarmupMultiStep(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly, stays, and falls by a factor at each milestone: Detectron's schedule.

    Args:
        learning_rate: The rate between warm-up and the first milestone.
        warmup_steps: Steps until it is reached; step s has the share (s + 1) / warmup_steps.
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
