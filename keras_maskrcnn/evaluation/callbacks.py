"""COCO's figures while a model trains."""

import keras
from rich.console import Console

from keras_maskrcnn.evaluation.coco import evaluate, results_table


class CocoEvaluation(keras.callbacks.Callback):
    """Evaluates at the end of epochs, so that other callbacks can monitor the figures.

    They appear in the logs as `val_box_ap`, `val_mask_ap` and so on. Put this callback before
    those that monitor it: `ModelCheckpoint(monitor="val_mask_ap", mode="max")`, `EarlyStopping`,
    `CSVLogger`. In epochs without evaluation the figures of the last one stand, so that a monitor
    sees no change.

    Args:
        dataset: A `CocoDataset`.
        every: Epochs from one evaluation to the next; the last epoch is always evaluated.
        batch_size: Images at a time.
        verbose: Whether to print a table each time.

    Example:
        >>> model.fit(batches, epochs=12, callbacks=[CocoEvaluation(val, every=2)])
    """

    def __init__(self, dataset, every: int = 1, batch_size: int = 1, verbose: bool = True):
        super().__init__()
        if every < 1:
            raise ValueError(f"every must be at least 1 epoch, got {every}.")
        self.dataset = dataset
        self.every = every
        self.batch_size = batch_size
        self.verbose = verbose
        self.figures: dict[str, float] = {}

    def on_train_begin(self, logs=None):
        self.figures = {}

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == self.params.get("epochs")
        if (epoch + 1) % self.every == 0 or last or not self.figures:
            figures = evaluate(self.model, self.dataset, self.batch_size, verbose=0)
            self.figures = {f"val_{name}": value for name, value in figures.items()}
            if self.verbose:
                Console().print(results_table(figures))
        if logs is not None:
            logs.update(self.figures)
