"""COCO's figures while a model trains, and the other callbacks of this package."""

import keras
from pycocotools.cocoeval import COCOeval
from rich.console import Console

from keras_maskrcnn.data.dataset import Dataset
from keras_maskrcnn.evaluation.coco import (
    figures,
    match_classes,
    results_table,
    run_coco_eval,
)
from keras_maskrcnn.evaluation.tensorboard import DetectionSummaries
from keras_maskrcnn.prediction.tiles import check_tiles
from keras_maskrcnn.training.backup import Backup
from keras_maskrcnn.training.callbacks import ImagesPerSecond, LearningRate, NaNGuard

__all__ = [
    "Backup",
    "CocoEvaluation",
    "DetectionSummaries",
    "ImagesPerSecond",
    "LearningRate",
    "NaNGuard",
]


class CocoEvaluation(keras.callbacks.Callback):
    """Evaluates at the end of epochs, so that other callbacks can monitor the figures.

    They appear in the logs, and in the history of `fit`, as `val_box_ap`, `val_mask_ap` and so
    on. Put this callback before those that monitor it: `ModelCheckpoint(monitor="val_mask_ap",
    mode="max")`, `EarlyStopping`, `CSVLogger`.

    Every epoch has all figures. Where there is no evaluation those of the last one stand, which a
    monitor takes for an epoch without improvement: a `patience` counts epochs, not evaluations.

    Under a `tf.distribute` strategy of several processes each of them looks at its share of the
    images, on one replica, and all have the same figures: all stop early in the same epoch.

    Args:
        dataset: A `Dataset` whose classes are the model's, in any order.
        every: Epochs from one evaluation to the next; the first epoch and the last are always
            evaluated.
        batch_size: Images at a time.
        verbose: Whether to print a table each time.
        prefix: What the names of the figures start with in the logs.
        tile_size: Looks at the images in tiles, with this side in pixels; see
            `prediction.predict.predict`.
        tile_overlap: Least share of a tile that the next one has in common with it.

    Attributes:
        evaluations: pycocotools' `COCOeval` of the last time, `"box"` and `"mask"`, their `eval`
            filled.
        evaluated_epoch: When that was, from 0; None before the first time.

    Raises:
        ValueError: `every` is below 1, or tiles cannot be such; or, when training begins, classes
            are not the model's.

    Example:
        >>> evaluation = CocoEvaluation(val, verbose=False)
        >>> history = model.fit(batches, epochs=2, callbacks=[evaluation])
        >>> len(history.history["val_mask_ap"])
        2
    """

    def __init__(
        self,
        dataset: Dataset,
        every: int = 1,
        batch_size: int = 1,
        verbose: bool = True,
        prefix: str = "val_",
        tile_size: int | None = None,
        tile_overlap: float = 0.25,
    ):
        super().__init__()
        if every < 1:
            raise ValueError(f"every must be at least 1 epoch, got {every}.")
        if tile_size is not None:
            check_tiles(tile_size, tile_overlap)
        self.dataset = dataset
        self.every = every
        self.batch_size = batch_size
        self.verbose = verbose
        self.prefix = prefix
        self.tile_size = tile_size
        self.tile_overlap = tile_overlap
        self._forget()

    def _forget(self):
        self.figures: dict[str, float] = {}
        self.evaluations: dict[str, COCOeval] = {}
        self.evaluated_epoch: int | None = None

    def on_train_begin(self, logs=None):
        match_classes(self.model, self.dataset)  # else it would fail after an epoch
        self._forget()

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == self.params.get("epochs")
        if (epoch + 1) % self.every == 0 or last or not self.figures:
            self.evaluated_epoch = epoch
            self.evaluations = {}  # so that two are never in memory at once
            self.evaluations = run_coco_eval(
                self.model,
                self.dataset,
                self.batch_size,
                verbose=0,
                tile_size=self.tile_size,
                tile_overlap=self.tile_overlap,
            )
            values = figures(self.evaluations)
            self.figures = {f"{self.prefix}{name}": value for name, value in values.items()}
            if self.verbose:
                self._print(values)
        if logs is not None:
            logs.update(self.figures)

    def _print(self, values):
        console = Console()
        if self.params.get("verbose") == 1:  # leave the line of Keras' progress bar
            console.print()
        console.print(results_table(values))
