"""What COCO's evaluation finds, for TensorBoard: precision-recall curves and pictures."""

import importlib.util
import os
import pathlib
import typing

import keras
import numpy as np
import tensorflow as tf

from keras_maskrcnn.data.drawing import draw_instances
from keras_maskrcnn.evaluation.coco import precision_curves

if typing.TYPE_CHECKING:
    from keras_maskrcnn.evaluation.callbacks import CocoEvaluation


class DetectionSummaries(keras.callbacks.Callback):
    """Writes precision-recall curves and pictures after each evaluation of a `CocoEvaluation`.

    Beside `keras.callbacks.TensorBoard`, which writes the losses and figures. The curves are those
    at IoU 0.5, of boxes and masks, of each class and their mean. On the left of a picture is what
    is annotated, on the right what is found. In several processes give each its own `log_dir`.

    Args:
        log_dir: As that of `keras.callbacks.TensorBoard`; what is written goes to `validation/`.
        evaluation: The `CocoEvaluation`, which must come before this in the list of callbacks.
        pictures: The first so many images of the dataset are drawn.
        score_threshold: What is found with a lower score is not drawn.

    Raises:
        ImportError: TensorBoard is not installed.

    Example:
        >>> evaluation = km.callbacks.CocoEvaluation(val, verbose=False)
        >>> callbacks = [
        ...     evaluation,
        ...     keras.callbacks.TensorBoard("logs"),
        ...     DetectionSummaries("logs", evaluation),
        ... ]
        >>> history = model.fit(batches, callbacks=callbacks)
    """

    def __init__(
        self,
        log_dir: str | os.PathLike,
        evaluation: "CocoEvaluation",
        pictures: int = 8,
        score_threshold: float = 0.5,
    ):
        super().__init__()
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError("DetectionSummaries needs TensorBoard: pip install tensorboard.")
        self.folder = pathlib.Path(log_dir) / "validation"
        self.evaluation = evaluation
        self.pictures = pictures
        self.score_threshold = score_threshold

    def on_epoch_end(self, epoch, logs=None):
        if self.evaluation.evaluated_epoch != epoch:
            return
        writer = tf.summary.create_file_writer(str(self.folder))
        with writer.as_default(step=epoch):
            for kind, evaluation in self.evaluation.evaluations.items():
                self._write_curves(kind, precision_curves(evaluation))
            self._write_pictures()
        writer.close()

    def _write_curves(self, kind, curves):
        dataset = self.evaluation.dataset
        names = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
        named = {names[category]: curve for category, curve in curves.items()}
        if named:
            write_precision_curve(f"{kind}/all classes", np.mean(list(named.values()), axis=0))
        for name, curve in named.items():
            write_precision_curve(f"{kind}/{name}", curve)

    def _write_pictures(self):
        dataset = self.evaluation.dataset
        for i, record in enumerate(dataset.records[: self.pictures]):
            try:
                example = dataset.example(i)
                pixels = record.read_pixels(self.model.config)
                found = self.model.predict([pixels], verbose=0)[0]
            except (ValueError, OSError):  # the evaluation has noted it
                continue
            found = found[found.scores >= self.score_threshold]
            pair = np.hstack(
                [_annotated(example, dataset.class_names), found.plot(example["image"])]
            )
            tf.summary.image(f"pictures/{pathlib.Path(record.path).name}", pair[None])


def write_precision_curve(tag: str, precision: np.ndarray) -> None:
    """Writes a curve for TensorBoard's plugin `pr_curves` with the default summary writer.

    Args:
        tag: Its name.
        precision: (n,) 0..1, at n recalls from 0 to 1; 0 where a recall is not reached.
    """
    from tensorboard.plugins.pr_curve import metadata

    # The plugin wants the counts at rising thresholds, so falling recalls: here as shares of the
    # annotated objects.
    recall = np.linspace(1.0, 0.0, len(precision))
    precision = precision[::-1]
    reached = precision > 0
    false_positives = np.where(reached, recall * (1 / np.where(reached, precision, 1.0) - 1), 0.0)
    rows = [recall, false_positives, np.zeros_like(recall), 1.0 - recall, precision, recall]
    tf.summary.write(
        tag,
        tf.constant(np.stack(rows), tf.float32),
        metadata=metadata.create_summary_metadata(tag, "", len(precision)),
    )


def _annotated(example, class_names):
    class_ids = example["class_ids"]
    labels = [class_names[i] for i in class_ids]
    return draw_instances(example["image"], example["boxes"], class_ids, example["masks"], labels)
