"""What a training run is to do, beside the config of its model."""

import dataclasses
import typing
from typing import Literal

# At least 1, or above 0, where they are given.
POSITIVE = (
    *(
        "epochs",
        "batch_size",
        "crop_size",
        "evaluate_every",
        "patience",
        "backup_every",
        "accumulate",
    ),
    *("learning_rate", "clip_norm", "ema"),
)


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """What a training run is to do: the options of `keras-maskrcnn train`.

    Args:
        train_data: Annotations to train on, of any format.
        train_images: Folder of their pictures (None: where the format has them; of a COCO file,
            images/ beside it, or its own folder).
        val_data: Annotations to evaluate on.
        val_images: Folder of their pictures (None: as of the others).
        weights: Weights to start from: a published checkpoint (.pkl, .pth, .h5), a preset (a
            name of info --presets, a folder of save_to_preset, or hf://user/name), or a model's
            .weights.h5.
        num_classes: Number of classes, to leave room for more than the data has (None: as many
            as the data has).
        epochs: Passes over the data (None: 12, or as many as a schedule of 1x to 3x takes).
        batch_size: Images a batch.
        seed: Of weights, order, flips and samples.
        augment: Flip half of the pictures; multiscale: their short side from 0.8 to 1 of
            image_min_size too; lsj: large-scale jitter, 0.1 to 2 of a square of image_max_size,
            for long runs.
        crop_size: Train on a square of N pixels of each picture, another one each epoch, and
            evaluate in tiles of that size, so that small objects of large pictures keep their size
            (None: train on whole pictures).
        mixed_precision: Compute in half precision; float16 with a loss scale (None: float32).
        evaluate_every: Evaluate after each N epochs.
        patience: Stop after N evaluations without a better AP, of masks if there are any
            (None: never).
        backup_every: Write what going on needs each N steps, and at each epoch's start.
        optimizer: Which; norms and biases have no weight decay.
        learning_rate: Peak, after the warm-up (None: 0.00125 an image of a step for sgd, which is
            Detectron's 0.02 for 16, and 0.0001 for adamw).
        schedule: How the rate falls: along a cosine; to a tenth after 2/3 and again after 8/9 of
            the epochs; or as Detectron's, which last 90,000, 180,000 and 270,000 steps of 16
            images, whatever the batch size.
        warmup_steps: Steps of linear warm-up (None: a tenth of all, at most 1000; of 1x to 3x
            1000 of 16 images).
        weight_decay: Decay of the weights (None: 0.05 for adamw; 0.001 for sgd, which does as
            much as 0.0001 in Detectron, whose decay passes through the momentum).
        clip_norm: Longest norm of all gradients together (None: no limit).
        accumulate: Batches whose mean gradient makes one step of the optimizer.
        ema: Evaluate and save a moving average of the weights, which keeps this share of itself
            at each batch, e.g. 0.999 (None: none).

    Raises:
        ValueError: A value out of its range, or options that contradict each other.

    Example:
        >>> TrainingOptions(train_data="train.json", epochs=3).batch_size
        2
    """

    train_data: str
    train_images: str | None = None
    val_data: str | None = None
    val_images: str | None = None
    weights: str | None = None
    num_classes: int | None = None
    epochs: int | None = None
    batch_size: int = 2
    seed: int = 0
    augment: Literal["flip", "multiscale", "lsj"] = "flip"
    crop_size: int | None = None
    mixed_precision: Literal["bfloat16", "float16"] | None = None
    evaluate_every: int = 1
    patience: int | None = None
    backup_every: int = 1000
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float | None = None
    schedule: Literal["cosine", "multistep", "1x", "2x", "3x"] = "cosine"
    warmup_steps: int | None = None
    weight_decay: float | None = None
    clip_norm: float | None = None
    accumulate: int = 1
    ema: float | None = None

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, allowed = getattr(self, field.name), choices(field)
            if value is None and field.default is None:
                continue
            if allowed and value not in allowed:
                raise ValueError(f"{field.name} must be of {', '.join(allowed)}, got {value!r}.")
            if field.name in POSITIVE and not value > 0:
                raise ValueError(f"{field.name} must be above 0, got {value!r}.")
        if self.val_images and not self.val_data:
            raise ValueError(
                "--val-images is the folder of the pictures of --val-data: give that too."
            )
        if self.patience and not self.val_data:
            raise ValueError(
                "--patience needs --val-annotations (or --val-data) to evaluate on, and "
                "--val-images where the format does not say where they are."
            )
        if self.epochs and self.schedule in ("1x", "2x", "3x"):
            raise ValueError(f"--schedule {self.schedule} sets the epochs: leave out --epochs.")


def choices(field: dataclasses.Field) -> tuple[str, ...]:
    """The values that a field of `TrainingOptions` may have, none where any will do."""
    kinds = [kind for kind in (field.type, *typing.get_args(field.type)) if _is_literal(kind)]
    return typing.get_args(kinds[0]) if kinds else ()


def _is_literal(kind):
    return typing.get_origin(kind) is Literal
