"""One run of `keras-maskrcnn train`: data and config in, a folder with all that came of it out."""

import argparse
import csv
import importlib.util
import json
import math
import os
import pathlib
import shlex
import shutil
import sys
import time
from collections.abc import Sequence

import keras
import tensorflow as tf
from rich.console import Console

import keras_maskrcnn
from keras_maskrcnn import cli_parser
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data import CocoDataset
from keras_maskrcnn.evaluation.callbacks import CocoEvaluation
from keras_maskrcnn.evaluation.coco import evaluate, results_table
from keras_maskrcnn.mask_rcnn import MaskRCNN
from keras_maskrcnn.training.backup import Backup
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
        args, config = _begun_run(args)
    train_set, val_set = _datasets(args)
    if not resumed:
        config = with_classes(config, train_set.class_names, keep_count="num_classes" in args)
    keras.utils.set_random_seed(args.seed)
    batches = train_set.batches(config, batch_size=args.batch_size, training=True, seed=args.seed)
    steps = _steps_per_epoch(batches)
    schedule, epochs = _schedule(args, steps)
    folder = pathlib.Path(resumed) if resumed else _new_folder(args)
    backup = Backup(folder / "backup", steps, args.backup_every)
    model = _model(config, args, begun=backup.step > 0)
    model.compile(optimizer=_optimizer(args, schedule))
    _note_start(folder, args, config, train_set, val_set)
    model.fit(
        batches.repeat().skip(backup.step),  # one sequence, for Backup to go on with
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


def write_samples(
    model: MaskRCNN, dataset: CocoDataset, folder: pathlib.Path, count: int = SAMPLES
) -> None:
    """Draw what the model finds on the first `count` pictures of the data into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, record in enumerate(dataset.records[:count]):
        name = f"{index:02}-{pathlib.Path(record.path).stem}.png"
        try:
            found = model.predict([record.path], verbose=0)[0]
        except (ValueError, OSError):  # training or evaluation has noted it
            continue
        found[found.scores >= SAMPLE_SCORE].save(folder / name, record.path)


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
        _say(
            f"{path} has {classes} classes and the data {model.config.num_classes}: the last "
            "layers of the heads start anew, the rest keeps its weights"
        )


def _datasets(args):
    if bool(args.val_annotations) != bool(args.val_images):
        raise ValueError("--val-annotations and --val-images belong together: give both or none.")
    train_set = CocoDataset(args.train_annotations, args.train_images)
    if not args.val_annotations:
        return train_set, None
    val_set = CocoDataset(args.val_annotations, args.val_images, train_set.class_names)
    return train_set, val_set


def _new_folder(args):
    name = f"{pathlib.Path(args.config).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = pathlib.Path(args.output or pathlib.Path("runs") / name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and not empty: choose another --output.")
    return folder


def _begun_run(args):
    """The options and the config that the run of `--resume` began with."""
    folder = pathlib.Path(args.resume)
    defaults = vars(cli_parser.build().parse_args(["train", "--resume", args.resume]))
    changed = [name for name, value in vars(args).items() if value != defaults.get(name)]
    if set(changed) - {"debug"}:
        names = ", ".join("--" + name.replace("_", "-") for name in changed if name != "debug")
        raise ValueError(f"--resume takes all options from the run's start: leave out {names}.")
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(f"{folder} holds no run.json: it is no run folder of train.")
    if (folder / "last.keras").is_file() and not (folder / "backup").is_dir():
        raise ValueError(f"The run in {folder} has ended: there is nothing to go on with.")
    options = json.loads((folder / "run.json").read_text(encoding="utf-8"))["options"]
    config = MaskRCNNConfig.from_yaml(folder / "config.yaml")
    return argparse.Namespace(**{**defaults, **options, "resume": None}), config


def _model(config, args, begun):
    """The model, with its first weights; those of a run that has begun are in its backup."""
    dtype = f"mixed_{args.mixed_precision}" if args.mixed_precision else None
    model = MaskRCNN(config, dtype=dtype)
    if begun:
        return model
    if args.weights is not None:
        load_weights(model, args.weights)
    elif config.norm == "frozen_batch_norm":
        _say(
            "warning: random weights under frozen batch norms learn badly; give --weights, or "
            "--norm batch_norm --freeze-at 0"
        )
    return model


def _say(text):
    print(f"keras-maskrcnn: {text}", file=sys.stderr)


def _steps_per_epoch(batches):
    steps = int(batches.cardinality())
    if steps < 1:
        raise ValueError("The training annotations hold no picture that can be used.")
    return steps


def _schedule(args, steps_per_epoch):
    """The learning rate over the batches, and the number of epochs."""
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
    past = _epochs_before(folder / "log.csv", backup.epoch)
    callbacks = [backup]
    if args.ema:
        callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    if val_set is not None:
        monitor = "val_mask_ap" if config.mask else "val_box_ap"
        every = min(args.evaluate_every, epochs)
        callbacks += _evaluation(folder, val_set, monitor, every, args.patience, past)
    callbacks.append(keras.callbacks.ModelCheckpoint(str(folder / "last.keras")))
    callbacks.append(keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True))
    if importlib.util.find_spec("tensorboard"):  # TensorFlow writes its files through it
        board = keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False)
        callbacks.append(board)
    return callbacks


def _evaluation(folder, val_set, monitor, every, patience, past):
    """Evaluates, keeps the best model, and stops; all go on from what the epochs before saw."""
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


def _epochs_before(path, epoch):
    """The figures of the epochs that are done; what the log holds beyond them is cut off."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if not lines:
        return []
    lines = lines[: 1 + epoch]
    shorter = path.with_suffix(".new")
    shorter.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    os.replace(shorter, path)
    rows = csv.DictReader(lines)
    return [{name: float(value) for name, value in row.items() if value != "NA"} for row in rows]


def _note_start(folder, args, config, train_set, val_set):
    """Writes down what a run starts with; of a run that goes on, checks it."""
    facts = {
        "options": {
            name: value for name, value in vars(args).items() if name not in config.to_dict()
        },
        "versions": {
            "keras_maskrcnn": keras_maskrcnn.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
        "train_images": len(train_set.records),
        "val_images": len(val_set.records) if val_set else 0,
    }
    path = folder / "run.json"
    if path.is_file():
        _check_same(json.loads(path.read_text(encoding="utf-8")), facts)
        return
    folder.mkdir(parents=True, exist_ok=True)
    config.to_yaml(folder / "config.yaml")
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    _say(f"should it be interrupted: keras-maskrcnn train --resume {shlex.quote(str(folder))}")


def _check_same(begun, now):
    for name in ("train_images", "val_images"):
        if begun[name] != now[name]:
            raise ValueError(
                f"The data has changed since the run began: {name} was {begun[name]} and is "
                f"{now[name]}. Put the files back, or start a new run."
            )
    if begun["versions"] != now["versions"]:
        _say(f"warning: the run began with {begun['versions']}, and goes on with {now['versions']}")


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
