"""One run of `keras-maskrcnn train`: data and config in, a folder with all that came of it out."""

import importlib.util
import math
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence

import keras
from rich.console import Console

from keras_maskrcnn.cli.run_folder import (
    begun_run,
    check_new,
    epochs_before,
    note_start,
    say,
    write_results,
)
from keras_maskrcnn.cli.training_options import TrainingOptions
from keras_maskrcnn.config import NO_CLASS, MaskRCNNConfig
from keras_maskrcnn.data import Augmentation, Dataset, TFRecordDataset, open_dataset
from keras_maskrcnn.data.inspection import figures, remarks
from keras_maskrcnn.data.stored import display
from keras_maskrcnn.evaluation.callbacks import CocoEvaluation
from keras_maskrcnn.evaluation.coco import figures as coco_figures
from keras_maskrcnn.evaluation.coco import results_table, run_coco_eval
from keras_maskrcnn.evaluation.report.build import write_report
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
    warmup_cosine,
)
from keras_maskrcnn.weights.checkpoint import read_checkpoint
from keras_maskrcnn.weights.presets import is_preset, load_preset_weights, preset_config
from keras_maskrcnn.weights.transfer import transfer_weights

SAMPLES, SAMPLE_SCORE = 8, 0.5
EPOCHS = 12
ADAMW_RATE = 1e-4
MOST_WARMUP_STEPS = 1000


def train(
    options: TrainingOptions, config: MaskRCNNConfig, folder: str | os.PathLike
) -> pathlib.Path:
    """Trains a model into a new folder, which it returns.

    The folder holds the config, the log, the best and the last model, COCO's figures and pictures
    of what the model finds: the same as of `keras-maskrcnn train`.

    Args:
        options: What to train on, and how.
        config: The model's; its classes are replaced by those of the training data.
        folder: New or empty.

    Raises:
        ValueError: Options, data or weights that do not fit each other, or the folder is in use.
        FileNotFoundError: A file or folder is missing.

    Example:
        >>> from keras_maskrcnn.cli.training_options import TrainingOptions
        >>> options = TrainingOptions(train_data="annotated/", val_data="annotated_val/", epochs=1)
        >>> folder = train(options, MaskRCNNConfig.from_name("demo_shapes"), "runs/first")
        COCO evaluation, %
        ...
        Run folder: runs/first
          best.keras
          ...
    """
    folder = pathlib.Path(folder)
    check_new(folder)
    train_set, val_set = _datasets(options)
    config = with_classes(config, train_set.class_names, options.num_classes)
    return _run(folder, options, config, train_set, val_set)


def resume(folder: str | os.PathLike) -> pathlib.Path:
    """Goes on with a run that was interrupted, to the weights that it would have had.

    Raises:
        ValueError: The run has ended, or its data has changed.
        FileNotFoundError: It is no run folder, or a file of the data is missing.
    """
    folder = pathlib.Path(folder)
    options, config = begun_run(folder)
    return _run(folder, options, config, *_datasets(options))


def _run(folder, options, config, train_set, val_set):
    keras.utils.set_random_seed(options.seed)
    steps = _steps_per_epoch(train_set, options.batch_size)
    schedule, epochs = make_schedule(options, steps)
    backup = Backup(folder / "backup", steps, options.backup_every)
    model = _model(config, options, begun=backup.step > 0)
    model.compile(optimizer=_optimizer(options, schedule))
    note_start(folder, options, config, train_set, val_set)
    _say_remarks(train_set, config)
    batches = train_set.batches(
        config,
        batch_size=options.batch_size,
        training=True,
        seed=options.seed,
        augmentation=_augmentation(options.augment, config),
        start=backup.step,
        crop_size=options.crop_size,
    )
    model.fit(
        batches.repeat(),
        steps_per_epoch=steps,
        epochs=epochs,
        initial_epoch=backup.epoch,
        shuffle=False,  # the batches are shuffled already; Keras warns otherwise
        callbacks=_callbacks(folder, options, config, val_set, epochs, backup),
        verbose=1 if sys.stdout.isatty() else 2,
    )
    _finish(folder, train_set, val_set, options.crop_size)
    return folder


def with_classes(
    config: MaskRCNNConfig, class_names: Sequence[str], num_classes: int | None = None
) -> MaskRCNNConfig:
    """The config for data with these classes.

    Args:
        config: Whose classes are replaced.
        class_names: Those of the data.
        num_classes: Number of classes, to leave room for further ones; as many as the data has if
            None. The further ones are called "N/A", and evaluation leaves them out.

    Raises:
        ValueError: `num_classes` is too small.
    """
    number = len(class_names) if num_classes is None else num_classes
    if number < len(class_names):
        raise ValueError(
            f"num_classes={num_classes} is too small: the training annotations have "
            f"{len(class_names)} categories. Leave --num-classes out to use as many."
        )
    room = [NO_CLASS] * (number - len(class_names))
    return config.replace(num_classes=number, class_names=[*class_names, *room])


def make_schedule(
    options: TrainingOptions, steps_per_epoch: int
) -> tuple[keras.optimizers.schedules.LearningRateSchedule, int]:
    """The learning rate over the batches, and the number of epochs.

    Args:
        options: Of the run.
        steps_per_epoch: Batches of one pass over the data.
    """
    rate = options.learning_rate
    if rate is None:
        images = options.batch_size * options.accumulate
        rate = DETECTRON_RATE * images / DETECTRON_BATCH_SIZE
        rate = ADAMW_RATE if options.optimizer == "adamw" else rate
    if options.schedule in DETECTRON_SCHEDULES:
        length = (options.schedule, options.batch_size)
        schedule, steps = detectron_schedule(*length, rate, options.warmup_steps)
        return schedule, math.ceil(steps / steps_per_epoch)
    epochs = options.epochs or EPOCHS
    steps = epochs * steps_per_epoch
    warmup = options.warmup_steps
    if warmup is None:
        warmup = min(MOST_WARMUP_STEPS, math.ceil(steps / 10))
    if options.schedule == "multistep":
        return WarmupMultiStep(rate, warmup, [steps * 2 // 3, steps * 8 // 9]), epochs
    return warmup_cosine(rate, steps, warmup), epochs


def evaluation_callbacks(
    folder: pathlib.Path,
    val_set: Dataset,
    monitor: str,
    every: int = 1,
    patience: int | None = None,
    past: Sequence[dict[str, float]] = (),
    tile_size: int | None = None,
) -> list[keras.callbacks.Callback]:
    """Callbacks that evaluate, keep the best model and stop.

    Args:
        folder: Where `best.keras` goes.
        val_set: The data to evaluate on.
        monitor: The figure of which more is better, `"val_mask_ap"` for one.
        every: Epochs from one evaluation to the next.
        patience: Evaluations in a row without a better figure that end the training; None for any.
        past: The logs of each epoch that was trained before the training was interrupted.
        tile_size: Evaluates in tiles, with this side in pixels; None at once.
    """
    evaluation = CocoEvaluation(val_set, every=every, tile_size=tile_size)
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
            pixels = record.read_pixels(model.config)
        except (ValueError, OSError):  # training or evaluation has noted it
            continue
        found = model.predict([pixels], verbose=0)[0]
        picture = display(pixels, model.config.pixel_range)
        found[found.scores >= SAMPLE_SCORE].save(folder / name, picture)


def load_weights(model: MaskRCNN, weights: str | os.PathLike) -> None:
    """Start `model` from a `.weights.h5` of its like, a published checkpoint, or a preset.

    Where the weights are of another number of classes, what depends on it starts anew.

    Raises:
        FileNotFoundError: There is no such file, and no such preset.
        ValueError: The weights are those of another model.
    """
    if _is_preset(weights):
        classes = preset_config(MaskRCNN, weights).num_classes
        load_preset_weights(model, weights)
    elif str(weights).endswith(".weights.h5"):
        model.load_weights(_file(weights))
        return
    else:
        path = _file(weights)
        classes = read_checkpoint(path).config().get("num_classes", model.config.num_classes)
        transfer_weights(model, classes, lambda source: source.import_weights(path))
    if classes != model.config.num_classes:
        say(
            f"{weights} has {classes} classes and the data {model.config.num_classes}: the last "
            "layers of the heads start anew, the rest keeps its weights"
        )


def config_of_weights(weights: str | os.PathLike | None) -> MaskRCNNConfig | None:
    """The config of the model that weights are of; None where they do not say.

    Raises:
        FileNotFoundError: There is no such file, and no such preset.
        ValueError: They are of no model of this package.
    """
    if weights is None:
        return None
    if _is_preset(weights):
        return preset_config(MaskRCNN, weights)
    path = _file(weights)
    if path.name.endswith(".weights.h5"):
        return None
    return MaskRCNNConfig.from_dict(read_checkpoint(path).config(), str(path))


def _is_preset(weights):
    return is_preset(weights) and not pathlib.Path(weights).is_file()


def _file(weights):
    path = pathlib.Path(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no weights file {path}, and no preset of this name (keras-maskrcnn info "
            "--presets lists them; a folder of save_to_preset and hf://user/name are presets too)."
        )
    return path


def _datasets(options):
    train_set = open_dataset(options.train_data, options.train_images)
    if not options.val_data:
        return train_set, None
    return train_set, open_dataset(options.val_data, options.val_images, train_set.class_names)


def _say_remarks(train_set, config):
    """What training would not make of the data; of TFRecords, that would take reading them all."""
    if not isinstance(train_set, TFRecordDataset):
        for remark in remarks(train_set, figures(train_set), config):
            say(remark)


def _model(config, options, begun):
    """The model, with its first weights; those of a run that has begun are in its backup."""
    dtype = f"mixed_{options.mixed_precision}" if options.mixed_precision else None
    model = MaskRCNN(config, dtype=dtype)
    if begun:
        return model
    if options.weights is not None:
        load_weights(model, options.weights)
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


def _optimizer(options, schedule):
    return make_optimizer(
        options.optimizer,
        schedule,
        weight_decay=options.weight_decay,
        global_clipnorm=options.clip_norm,
        gradient_accumulation_steps=options.accumulate,
        ema_momentum=options.ema,
    )


def _callbacks(folder, options, config, val_set, epochs, backup):
    """In the order that they need: each sees what those before it have done or logged."""
    past = epochs_before(folder / "log.csv", backup.epoch)
    callbacks = [backup, NaNGuard(), LearningRate()]
    if options.ema:
        callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    if val_set is not None:
        monitor = "val_mask_ap" if config.mask else "val_box_ap"
        every = min(options.evaluate_every, epochs)
        how = every, options.patience, past, options.crop_size
        callbacks += evaluation_callbacks(folder, val_set, monitor, *how)
    callbacks.append(keras.callbacks.ModelCheckpoint(str(folder / "last.keras")))
    callbacks.append(keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True))
    if importlib.util.find_spec("tensorboard"):  # TensorFlow writes its files through it
        logs = str(folder / "tensorboard")
        evaluations = [c for c in callbacks if isinstance(c, CocoEvaluation)]
        callbacks.append(ImagesPerSecond(options.batch_size))  # no two runs log the same
        callbacks.append(keras.callbacks.TensorBoard(logs, write_graph=False))
        callbacks += [DetectionSummaries(logs, evaluation) for evaluation in evaluations]
    return callbacks


def _finish(folder, train_set, val_set, tile_size):
    """Evaluates the best model, draws samples, and says what there is and where."""
    console = Console()
    best = folder / "best.keras"
    model = keras.models.load_model(best if best.is_file() else folder / "last.keras")
    if val_set is not None:
        evaluations = run_coco_eval(model, val_set, verbose=0, tile_size=tile_size)
        results = coco_figures(evaluations)
        write_results(results, folder / "results.json")
        console.print(results_table(results))
        write_report(evaluations, val_set, folder / "report", model.config)
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
