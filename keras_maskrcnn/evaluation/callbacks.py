"""COCO's figures while a model trains."""

import keras
from rich.console import Console

from keras_maskrcnn.evaluation.coco import evaluate, results_table


class CocoEvaluation(keras.callbacks.Callback):
    """Evaluates at the end of epochs, so that other callbacks can monitor the figures.

    They appear in the logs, and in the history of `fit`, as `val_box_ap`, `val_mask_ap` and so
    on. Put this callback before those that monitor it: `ModelCheckpoint(monitor="val_mask_ap",
    mode="max")`, `EarlyStopping`, `CSVLogger`.

    Every epoch has all figures. Where there is no evaluation those of the last one stand, which a
    monitor takes for an epoch without improvement: a `patience` counts epochs, not evaluations.

    Args:
        dataset: A `CocoDataset`.
        every: Epochs from one evaluation to the next; the first epoch and the last are always
            evaluated.
        batch_size: Images at a time.
        verbose: Whether to print a table each time.
        prefix: What the names of the figures start with in the logs.

    Raises:
        ValueError: `every` is below 1.

    Example:
        >>> model.fit(batches, epochs=12, callbacks=[CocoEvaluation(val, every=2)])
    """

    def __init__(
        self,
        dataset,
        every: int = 1,
        batch_size: int = 1,
        verbose: bool = True,
        prefix: str = "val_",
    ):
        super().__init__()
        if every < 1:
            raise ValueError(f"every must be at least 1 epoch, got {every}.")
        self.dataset = dataset
        self.every = every
        self.batch_size = batch_size
        self.verbose = verbose
        self.prefix = prefix
        self.figures: dict[str, float] = {}

    def on_train_begin(self, logs=None):
        self.figures = {}

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == self.params.get("epochs")
        if (epoch + 1) % self.every == 0 or last or not self.figures:
            figures = evaluate(self.model, self.dataset, self.batch_size, verbose=0)
            self.figures = {f"{self.prefix}{name}": value for name, value in figures.items()}
            if self.verbose:
                self._print(figures)
        if logs is not None:
            logs.update(self.figures)

    def _print(self, figures):
        console = Console()
        if self.params.get("verbose") == 1:  # leave the line of Keras' progress bar
            console.print()
        console.print(results_table(figures))
