"""What to know of a run while it trains: its speed, its learning rate, and that it still learns."""

import math
import time
from collections.abc import Callable, Iterable

import keras


class LearningRate(keras.callbacks.Callback):
    """Adds `learning_rate` to the logs of each epoch: the rate after its last step.

    Put it before `CSVLogger`, `TensorBoard` and others that are to see it.
    """

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class ImagesPerSecond(keras.callbacks.Callback):
    """Adds `images_per_second` to the logs of each epoch, validation not counted.

    The first epoch includes the building of the graph. Put it before `CSVLogger`, `TensorBoard`
    and others that are to see it.

    Args:
        batch_size: Images a batch, those of all replicas.

    Example:
        >>> callbacks = [ImagesPerSecond(batch_size=2), keras.callbacks.CSVLogger("log.csv")]
        >>> history = model.fit(batches, callbacks=callbacks)
    """

    def __init__(self, batch_size: int):
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch, logs=None):
        self.images, self.start = 0, time.perf_counter()
        self.seconds = math.nan

    def on_train_batch_end(self, batch, logs=None):
        self.images = (batch + 1) * self.batch_size
        self.seconds = time.perf_counter() - self.start

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["images_per_second"] = self.images / self.seconds


class NaNGuard(keras.callbacks.Callback):
    """Stops a training whose losses are no numbers any more, and says which and where.

    Keras' `TerminateOnNaN` ends such a run like a finished one; this raises.

    Args:
        images_of: Called with the epoch and the batch in it, both from 0, names the images of that
            batch, for the error; None if that is not known.

    Raises:
        FloatingPointError: From `fit`, at the end of the first batch with a loss that is NaN or
            infinite.

    Example:
        >>> history = model.fit(batches, callbacks=[NaNGuard()])
    """

    def __init__(self, images_of: Callable[[int, int], Iterable[object]] | None = None):
        super().__init__()
        self.images_of = images_of

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.first = batch

    def on_train_batch_end(self, batch, logs=None):
        # Each is a mean over the epoch so far: it stays NaN from the first NaN on.
        bad = [name for name, value in (logs or {}).items() if not math.isfinite(float(value))]
        if bad:
            raise FloatingPointError(self._message(bad, logs, batch))

    def _message(self, bad, logs, last):
        parts = [name for name in bad if name != "loss"] or bad
        values = ", ".join(f"{name} is {float(logs[name])}" for name in parts)
        batches = range(self.first, last + 1)
        where = f"batch {last}" if len(batches) == 1 else f"one of batches {self.first} to {last}"
        lines = [f"{values} in {where} of epoch {self.epoch} (both from 0)."]
        if len(bad) == len(logs):
            lines.append("All losses at once: the step before spoiled the weights.")
        if self.images_of is not None:
            names = [str(name) for i in batches for name in self.images_of(self.epoch, i)]
            lines.append(f"Images: {', '.join(names)}.")
        lines.append("Try a lower learning rate, a longer warm-up or gradient clipping (clipnorm).")
        return "\n".join(lines)
