"""Training that was killed goes on where it was, and ends as if nothing had happened."""

import os
import pathlib

import h5py
import keras


class Backup(keras.callbacks.Callback):
    """Saves what training needs to go on, and restores it at the start of the next `fit`.

    As `keras.callbacks.BackupAndRestore`, and beyond it: `fit` goes on within an epoch, the means
    of whose losses are restored too, and at no moment would a kill leave a backup that is broken
    or whose step is not that of its weights. In it are the model's weights, the sampling seed
    among them, the optimizer's variables and the metrics.

    The batches must be one endless sequence, the same in each process. It is the first of the
    callbacks. On disk there is one backup, while it is written two; a run that has ended leaves
    its last one to the caller.

    Args:
        folder: Where the backup lies; nothing else may.
        steps_per_epoch: As given to `fit`.
        every: Steps from one backup to the next; there is one at the start of each epoch too.

    Attributes:
        step: Steps that are done, 0 if there is no backup.
        epoch: The epoch that this step is in.

    Raises:
        ValueError: `steps_per_epoch` or `every` is below 1.

    Example:
        >>> steps = len(train) // 2
        >>> backup = Backup("backup", steps_per_epoch=steps)
        >>> history = model.fit(
        ...     train.batches(
        ...         model.config, batch_size=2, training=True, start=backup.step
        ...     ).repeat(),
        ...     steps_per_epoch=steps,
        ...     epochs=2,
        ...     initial_epoch=backup.epoch,
        ...     callbacks=[backup],
        ... )
    """

    def __init__(self, folder: str | os.PathLike, steps_per_epoch: int, every: int = 1000):
        super().__init__()
        if steps_per_epoch < 1 or every < 1:
            raise ValueError(
                f"steps_per_epoch and every must be at least 1, got {steps_per_epoch} and {every}."
            )
        self.folder = pathlib.Path(folder)
        self.steps_per_epoch = steps_per_epoch
        self.every = every
        self.restored = newest = max(self.folder.glob("step-*.weights.h5"), default=None)
        self.step = int(newest.name.split(".")[0].removeprefix("step-")) if newest else 0
        self._last = self.step if newest else None
        self._cut_short = False

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch

    def on_epoch_begin(self, epoch, logs=None):
        """Restores after `fit` has reset the metrics, and counts from where the epoch goes on."""
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        if self.restored is not None:
            self._restore(self.restored)
            self.restored = None
        self._first, self._end = self.step, (epoch + 1) * self.steps_per_epoch

    def on_train_batch_begin(self, batch, logs=None):
        # Not at the end of an epoch: the moving average may be in the weights' place then.
        self.step = self._first + batch
        new_epoch = self.step % self.steps_per_epoch == 0 and self.step != self._last
        if new_epoch or self.step - self._last >= self.every:
            self._save()

    def on_train_batch_end(self, batch, logs=None):
        self.step = self._first + batch + 1
        begun_before = self._first % self.steps_per_epoch > 0
        if begun_before and self.step >= self._end and not self.model.stop_training:
            # `fit` would do all steps of an epoch, and there are fewer left.
            self.model.stop_training = self._cut_short = True

    def on_epoch_end(self, epoch, logs=None):
        if self._cut_short:
            self.model.stop_training = self._cut_short = False

    def _save(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        older = list(self.folder.glob("step-*.weights.h5"))
        unfinished = self.folder / "unfinished.weights.h5"
        self.model.save_weights(unfinished, overwrite=True)
        with h5py.File(unfinished, "a") as file:  # Keras leaves the metrics out
            for i, variable in enumerate(self._metric_variables()):
                file[f"metrics/{i}"] = variable.numpy()
        os.replace(unfinished, self.folder / f"step-{self.step:09}.weights.h5")
        for path in older:
            path.unlink(missing_ok=True)
        self._last = self.step

    def _restore(self, path):
        self.model.load_weights(path)
        with h5py.File(path) as file:
            for i, variable in enumerate(self._metric_variables()):
                variable.assign(file[f"metrics/{i}"][()])

    def _metric_variables(self):
        return [variable for metric in self.model.metrics for variable in metric.variables]
