"""One run of `keras-maskrcnn train`: data and config in, a folder with all that came of it out."""

import argparse
import importlib.util
import json
import math
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence

import keras
from rich.console import Console

from keras_maskrcnn.cli.run_folder import begun_run, epochs_before, new_folder, note_start, say
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data import Augmentation, Dataset, open_dataset
from keras_maskrcnn.evaluation.callbacks import CocoEvaluation
from keras_maskrcnn.evaluation.coco import evaluate, results_table
from keras_maskrcnn.evaluation.tensorboard import DetectionSummaries
from keras_maskrcnn.mask_rcnn import MaskRCNN
from keras_maskrcnn.training.backup import Backup
from keras_maskrcnn.training.callbacks import ImagesPerSecond, LearningRate, NaNGuard
from keras_maskrcnn.training.optimizers import make_optimizer
from keras_maskrcnn.training.schedules import (
    DETECTRON_BATCH_SIZE,
    DETECTRON_RATE,
    DETECTRON_SCHEDULES,
    WarmupMultiStep,
    detectron_schedule,
)
from keras_maskrcnn.weights.checkpoint import read_checkpoint
from keras_maskrcnn.weights.transfer import transfer_weights

SAMPLES, SAMPLE_SCORE = 8, 0.5
EPOCHS = 12
ADAMW_RATE = 1e-4
MOST_WARMUP_STEPS = 1000


def train(args: argparse.Namespace, config: MaskRCNNConfig) -> pathlib.Path:
    """Train as the command line says and return the run's folder.

    Args:
        args: The options of `keras-maskrcnn train`. With `args.resume`, a run's folder, all others
            and the config are those that the run began with.
        config: The model's; its classes are replaced by those of the training data.

    Raises:
        ValueError: Options, data or weights that do not fit each other, or a run that has ended.
        FileNotFoundError: A file or folder is missing.
    """
    resumed = args.resume
    if resumed:
        args, config = begun_run(args)
    train_set, val_set = _datasets(args)
    if args.patience and val_set is None:
        raise ValueError("--patience needs --val-annotations and --val-images to evaluate on.")
    if not resumed:
        config = with_classes(config, train_set.class_names, keep_count="num_classes" in args)
    keras.utils.set_random_seed(args.seed)
    steps = _steps_per_epoch(train_set, args.batch_size)
    schedule, epochs = make_schedule(args, steps)
    folder = pathlib.Path(resumed) if resumed else new_folder(args)
    backup = Backup(folder / "backup", steps, args.backup_every)
    model = _model(config, args, begun=backup.step > 0)
    model.compile(optimizer=_optimizer(args, schedule))
    note_start(folder, args, config, train_set, val_set)
    batches = train_set.batches(
        config,
        batch_size=args.batch_size,
        training=True,
        seed=args.seed,
        augmentation=_augmentation(args.augment, config),
        start=backup.step,
    )
    model.fit(
        batches.repeat(),
        steps_per_epoch=steps,
        epochs=epochs,
        initial_epoch=backup.epoch,
        shuffle=False,  # the batches are shuffled already; Keras warns otherwise
        callbacks=_callbacks(folder, args, config, val_set, epochs, backup),
        verbose=1 if sys.stdout.isatty() else 2,
    )
    _finish(folder, train_set, val_set)
    return folder


def with_classes(
    config: MaskRCNNConfig, class_names: Sequence[str], keep_count: bool = False
) -> MaskRCNNConfig:
    """The config for data with these classes.

    Args:
        config: Whose classes are replaced.
        class_names: Those of the data.
        keep_count: Whether `config.num_classes` stands, to leave room for further classes.

    Raises:
        ValueError: `config.num_classes` has to stand and is too small.
    """
    if not keep_count or config.num_classes == len(class_names):
        return config.replace(num_classes=len(class_names), class_names=list(class_names))
    if config.num_classes < len(class_names):
        raise ValueError(
            f"num_classes={config.num_classes} is too small: the training annotations have "
            f"{len(class_names)} categories. Leave --num-classes out to use as many."
        )
    return config.replace(class_names=[])


def make_schedule(
    args: argparse.Namespace, steps_per_epoch: int
) -> tuple[keras.optimizers.schedules.LearningRateSchedule, int]:
    """The learning rate over the batches, and the number of epochs.

    Args:
        args: The options of `keras-maskrcnn train`.
        steps_per_epoch: Batches of one pass over the data.

    Raises:
        ValueError: Both a schedule that sets the epochs, and epochs.
    """
    rate = args.learning_rate
    if rate is None:
        images = args.batch_size * args.accumulate
        rate = DETECTRON_RATE * images / DETECTRON_BATCH_SIZE
        rate = ADAMW_RATE if args.optimizer == "adamw" else rate
    if args.schedule in DETECTRON_SCHEDULES:
        if args.epochs:
            raise ValueError(f"--schedule {args.schedule} sets the epochs: leave out --epochs.")
        length = (args.schedule, args.batch_size)
        schedule, steps = detectron_schedule(*length, rate, args.warmup_steps)
        return schedule, math.ceil(steps / steps_per_epoch)
    epochs = args.epochs or EPOCHS
    steps = epochs * steps_per_epoch
    warmup = args.warmup_steps
    if warmup is None:
        warmup = min(MOST_WARMUP_STEPS, math.ceil(steps / 10))
    if args.schedule == "multistep":
        return WarmupMultiStep(rate, warmup, [steps * 2 // 3, steps * 8 // 9]), epochs
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 1000, max(steps - warmup, 1), warmup_target=rate, warmup_steps=warmup
    )
    return schedule, epochs


def evaluation_callbacks(
    folder: pathlib.Path,
    val_set: Dataset,
    monitor: str,
    every: int = 1,
    patience: int | None = None,
    past: Sequence[dict[str, float]] = (),
) -> list[keras.callbacks.Callback]:
    """Callbacks that evaluate, keep the best model and stop.

    Args:
        folder: Where `best.keras` goes.
        val_set: The data to evaluate on.
        monitor: The figure of which more is better, `"val_mask_ap"` for one.
        every: Epochs from one evaluation to the next.
        patience: Evaluations in a row without a better figure that end the training; None for any.
        past: The logs of each epoch that was trained before the training was interrupted.
    """
    evaluation = CocoEvaluation(val_set, every=every)
    best = keras.callbacks.ModelCheckpoint(
        str(folder / "best.keras"),
        monitor=monitor,
        mode="max",
        save_best_only=True,
        initial_value_threshold=max((row[monitor] for row in past), default=None),
    )
    patience = patience * every if patience else math.inf  # Keras counts epochs
    stopping = keras.callbacks.EarlyStopping(monitor, patience=patience, mode="max")

    def recall(logs=None):
        for epoch, row in enumerate(past):
            stopping.on_epoch_end(epoch, row)
            evaluation.figures = {name: row[name] for name in row if name.startswith("val_")}

    return [evaluation, best, stopping, keras.callbacks.LambdaCallback(on_train_begin=recall)]


def write_samples(
    model: MaskRCNN, dataset: Dataset, folder: pathlib.Path, count: int = SAMPLES
) -> None:
    """Draw what the model finds on the first `count` pictures of the data into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, record in enumerate(dataset.records[:count]):
        name = f"{index:02}-{pathlib.Path(record.path).stem}.png"
        try:
            image = record.read_image()
        except (ValueError, OSError):  # training or evaluation has noted it
            continue
        found = model.predict([image], verbose=0)[0]
        found[found.scores >= SAMPLE_SCORE].save(folder / name, image)


def write_results(results: dict[str, float], path: str | os.PathLike) -> None:
    """Write COCO's figures as JSON, which has no NaN: what could not be measured is null."""
    values = {name: None if math.isnan(value) else value for name, value in results.items()}
    pathlib.Path(path).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def load_weights(model: MaskRCNN, path: str | os.PathLike) -> None:
    """Start `model` from a `.weights.h5` of its like, or from a published checkpoint.

    Where the checkpoint has another number of classes, what depends on it starts anew.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The weights are those of another model.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file {path}.")
    if path.name.endswith(".weights.h5"):
        model.load_weights(path)
        return
    classes = read_checkpoint(path).config().get("num_classes", model.config.num_classes)
    transfer_weights(model, classes, lambda source: source.import_weights(path))
    if classes != model.config.num_classes:
        say(
            f"{path} has {classes} classes and the data {model.config.num_classes}: the last "
            "layers of the heads start anew, the rest keeps its weights"
        )


def _datasets(args):
    if args.val_images and not args.val_annotations:
        raise ValueError("--val-images is the folder of the pictures of --val-data: give that too.")
    train_set = open_dataset(args.train_annotations, args.train_images)
    if not args.val_annotations:
        return train_set, None
    return train_set, open_dataset(args.val_annotations, args.val_images, train_set.class_names)


def _model(config, args, begun):
    """The model, with its first weights; those of a run that has begun are in its backup."""
    dtype = f"mixed_{args.mixed_precision}" if args.mixed_precision else None
    model = MaskRCNN(config, dtype=dtype)
    if begun:
        return model
    if args.weights is not None:
        load_weights(model, args.weights)
    elif config.norm == "frozen_batch_norm":
        say(
            "warning: random weights under frozen batch norms learn badly; give --weights, or "
            "--norm batch_norm --freeze-at 0"
        )
    return model


def _steps_per_epoch(dataset, batch_size):
    """As `Dataset.batches` makes them in training: it drops a last batch that is not full."""
    return max(len(dataset) // batch_size, 1)


def _augmentation(name, config):
    """None where the batches' own resizing and flipping is all that is asked for."""
    shortest, longest = config.image_min_size, config.image_max_size
    if name == "multiscale":
        sides = (round(0.8 * shortest), shortest)
        return Augmentation(horizontal_flip=0.5, short_side=sides, longest_side=longest)
    if name == "lsj":
        return Augmentation(horizontal_flip=0.5, scale_jitter=(0.1, 2.0), jitter_size=longest)
    return None


def _optimizer(args, schedule):
    return make_optimizer(
        args.optimizer,
        schedule,
        weight_decay=args.weight_decay,
        global_clipnorm=args.clip_norm,
        gradient_accumulation_steps=args.accumulate,
        ema_momentum=args.ema,
    )


def _callbacks(folder, args, config, val_set, epochs, backup):
    """In the order that they need: each sees what those before it have done or logged."""
    past = epochs_before(folder / "log.csv", backup.epoch)
    callbacks = [backup, NaNGuard(), LearningRate()]
    if args.ema:
        callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    if val_set is not None:
        monitor = "val_mask_ap" if config.mask else "val_box_ap"
        every = min(args.evaluate_every, epochs)
        callbacks += evaluation_callbacks(folder, val_set, monitor, every, args.patience, past)
    callbacks.append(keras.callbacks.ModelCheckpoint(str(folder / "last.keras")))
    callbacks.append(keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True))
    if importlib.util.find_spec("tensorboard"):  # TensorFlow writes its files through it
        logs = str(folder / "tensorboard")
        evaluations = [c for c in callbacks if isinstance(c, CocoEvaluation)]
        callbacks.append(ImagesPerSecond(args.batch_size))  # no two runs log the same
        callbacks.append(keras.callbacks.TensorBoard(logs, write_graph=False))
        callbacks += [DetectionSummaries(logs, evaluation) for evaluation in evaluations]
    return callbacks


def _finish(folder, train_set, val_set):
    """Evaluates the best model, draws samples, and says what there is and where."""
    console = Console()
    best = folder / "best.keras"
    model = keras.models.load_model(best if best.is_file() else folder / "last.keras")
    if val_set is not None:
        results = evaluate(model, val_set, batch_size=1, verbose=0)
        write_results(results, folder / "results.json")
        console.print(results_table(results))
    write_samples(model, val_set or train_set, folder / "samples")
    _report_problems(folder, [data for data in (train_set, val_set) if data and data.problems])
    shutil.rmtree(folder / "backup", ignore_errors=True)
    console.print(f"Run folder: {folder}", soft_wrap=True)
    for path in sorted(folder.iterdir()):
        console.print(f"  {path.name}{'/' if path.is_dir() else ''}", highlight=False)


def _report_problems(folder, datasets):
    """The first bad records on the screen, all of them in a file."""
    if not datasets:
        return
    for dataset in datasets:
        print(dataset.problem_report())
    reports = [dataset.problem_report(most=len(dataset.problems)) for dataset in datasets]
    (folder / "problems.txt").write_text("\n".join(reports) + "\n", encoding="utf-8")
