"""One run of `keras-maskrcnn train`: data and config in, a folder with all that came of it out."""

import argparse
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Sequence

import keras
import tensorflow as tf
from rich.console import Console

import keras_maskrcnn
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data import Dataset, open_dataset
from keras_maskrcnn.evaluation.callbacks import CocoEvaluation
from keras_maskrcnn.evaluation.coco import evaluate, results_table
from keras_maskrcnn.mask_rcnn import MaskRCNN
from keras_maskrcnn.weights.checkpoint import read_checkpoint
from keras_maskrcnn.weights.transfer import transfer_weights

SAMPLES, SAMPLE_SCORE = 8, 0.5
SGD_RATE_PER_IMAGE = 0.02 / 16  # Detectron2's baselines: 0.02 for a batch of 16
ADAMW_RATE = 1e-4
WEIGHT_DECAY = {"sgd": 1e-4, "adamw": 0.05}
MOST_WARMUP_STEPS = 1000


def train(args: argparse.Namespace, config: MaskRCNNConfig) -> pathlib.Path:
    """Train as the command line says and return the run's folder.

    Args:
        args: The options of `keras-maskrcnn train`.
        config: The model's; its classes are replaced by those of the training data.

    Raises:
        ValueError: Options, data or weights that do not fit each other.
        FileNotFoundError: A file or folder is missing.
    """
    train_set, val_set = _datasets(args)
    config = with_classes(config, train_set.class_names, keep_count="num_classes" in args)
    keras.utils.set_random_seed(args.seed)
    model = _model(config, args.weights)
    folder = _new_folder(args)
    batches = train_set.batches(config, batch_size=args.batch_size, training=True, seed=args.seed)
    model.compile(optimizer=_optimizer(args, steps=args.epochs * _steps_per_epoch(batches)))
    _write_start(folder, args, config, train_set, val_set)
    model.fit(
        batches,
        epochs=args.epochs,
        shuffle=False,  # the batches are shuffled already; Keras warns otherwise
        callbacks=_callbacks(folder, config, val_set, min(args.evaluate_every, args.epochs)),
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
    model: MaskRCNN, dataset: Dataset, folder: pathlib.Path, count: int = SAMPLES
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
    if args.val_images and not args.val_annotations:
        raise ValueError("--val-images is the folder of the pictures of --val-data: give that too.")
    train_set = open_dataset(args.train_annotations, args.train_images)
    if not args.val_annotations:
        return train_set, None
    return train_set, open_dataset(args.val_annotations, args.val_images, train_set.class_names)


def _new_folder(args):
    name = f"{pathlib.Path(args.config).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = pathlib.Path(args.output or pathlib.Path("runs") / name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and not empty: choose another --output.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _model(config, weights):
    model = MaskRCNN(config)
    if weights is not None:
        load_weights(model, weights)
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


def _optimizer(args, steps):
    rate = args.learning_rate
    if rate is None:
        rate = ADAMW_RATE if args.optimizer == "adamw" else SGD_RATE_PER_IMAGE * args.batch_size
    warmup = args.warmup_steps
    if warmup is None:
        warmup = min(MOST_WARMUP_STEPS, math.ceil(steps / 10))
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 1000, max(steps - warmup, 1), warmup_target=rate, warmup_steps=warmup
    )
    decay = WEIGHT_DECAY[args.optimizer] if args.weight_decay is None else args.weight_decay
    if args.optimizer == "adamw":
        return keras.optimizers.AdamW(schedule, weight_decay=decay)
    return keras.optimizers.SGD(schedule, momentum=0.9, weight_decay=decay)


def _callbacks(folder, config, val_set, every):
    last = keras.callbacks.ModelCheckpoint(str(folder / "last.keras"))
    log = keras.callbacks.CSVLogger(str(folder / "log.csv"))
    if val_set is None:
        return [last, log]
    best = keras.callbacks.ModelCheckpoint(
        str(folder / "best.keras"),
        monitor="val_mask_ap" if config.mask else "val_box_ap",
        mode="max",
        save_best_only=True,
    )
    return [CocoEvaluation(val_set, every=every), best, last, log]


def _write_start(folder, args, config, train_set, val_set):
    config.to_yaml(folder / "config.yaml")
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
    (folder / "run.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


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
