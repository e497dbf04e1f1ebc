"""`train`: a training run, and going on with one that was interrupted."""

import argparse
import dataclasses
import pathlib
import time
import typing

from keras_maskrcnn.cli import options
from keras_maskrcnn.cli.training_options import POSITIVE, TrainingOptions, choices
from keras_maskrcnn.config import MaskRCNNConfig

GROUPS = {
    "data": ("train_data", "train_images", "val_data", "val_images"),
    "model": ("weights",),
    "optimizer": (
        *("optimizer", "learning_rate", "schedule", "warmup_steps"),
        *("weight_decay", "clip_norm", "accumulate", "ema"),
    ),
}
EXAMPLES = """\
examples:
  # finetune Detectron2's R50-FPN on your classes, which are read from the annotations
  keras-maskrcnn train --train-data train.json --train-images photos/ \\
      --val-data val.json --val-images photos/ \\
      --weights mask_rcnn_resnet50_fpn_3x_coco --epochs 12 --output runs/mine
  # a small model from random weights
  keras-maskrcnn train --train-data train.json --train-images photos/ \\
      --config demo_shapes --optimizer adamw --learning-rate 0.001 --batch-size 8
  # annotated in LabelMe; Pascal VOC, by its splits
  keras-maskrcnn train --train-data annotated/ --val-data annotated_val/
  keras-maskrcnn train --train-data VOC2012/ImageSets/Segmentation/train.txt \\
      --val-data VOC2012/ImageSets/Segmentation/val.txt
  # your own config file, and fields of it changed
  keras-maskrcnn train --train-data train.json --train-images photos/ \\
      --config mine.yaml --image-min-size 640 --anchor-sizes "[[16], [32], [64], [128], [256]]"
  # go on with a run that was interrupted
  keras-maskrcnn train --resume runs/mine
"""


def add_verb(verbs) -> None:
    """Adds `train`: an option for each field of `TrainingOptions` and of the config."""
    parser = options.add_verb(
        verbs,
        "train",
        train,
        usage="--train-data PATH [--train-images DIR] [options]",
        summary="Train a model on annotated pictures; everything goes to a run folder.",
        examples=EXAMPLES,
    )
    groups = {
        "data": parser.add_argument_group("data", options.DATA_FORMATS),
        "model": parser.add_argument_group("model"),
        "training": parser.add_argument_group("training"),
        "optimizer": parser.add_argument_group("optimizer"),
    }
    groups["model"].add_argument(
        "--config",
        metavar="NAME|FILE",
        default=argparse.SUPPRESS,
        help="a shipped config (see info) or a YAML file (default: that of --weights if they say, "
        f"else {options.DEFAULT_CONFIG}); the classes come from the annotations",
    )
    names = {name: group for group, members in GROUPS.items() for name in members}
    descriptions = options.descriptions(TrainingOptions)
    for field in dataclasses.fields(TrainingOptions):
        if field.name not in options.FIELDS:
            group = groups[names.get(field.name, "training")]
            _add_option(group, field, descriptions[field.name])
    groups["training"].add_argument(
        "--output",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="the run's folder, new (default: runs/<config>-<time>)",
    )
    groups["training"].add_argument(
        "--resume",
        metavar="RUN",
        default=argparse.SUPPRESS,
        help="go on with a run that was interrupted, to the weights that it would have had; all "
        "other options are those of its start",
    )
    options.add_fields(parser, options.FIELDS, defaults=MaskRCNNConfig())


def _add_option(group, field, description):
    """The option of a field; only those that are given reach the result."""
    name = field.name.replace("_", "-")
    names = [f"--{name}"]
    if name.endswith("-data"):
        names.append(f"--{name.removesuffix('data')}annotations")
    allowed = choices(field)
    kind = _kind(field)
    description = description.replace("(None:", "(default:").replace("%", "%%")
    if field.default not in (None, dataclasses.MISSING):
        description += f" (default: {field.default})"
    group.add_argument(
        *names,
        type=kind,
        choices=allowed or None,
        metavar=None if allowed else {str: "PATH"}.get(kind, "N" if "int" in str(kind) else "X"),
        default=argparse.SUPPRESS,
        help=description[0].lower() + description[1:],
    )


def _kind(field):
    kinds = {field.type, *typing.get_args(field.type)} & {int, float}
    if not kinds:
        return str
    (kind,) = kinds
    if field.name not in POSITIVE:
        return kind
    return options.positive_int if kind is int else options.positive_float


def train(args: argparse.Namespace) -> int:
    """Train a model on annotated pictures, or go on with it; everything goes to a run folder."""
    from keras_maskrcnn.cli import training_run

    given = {
        name: value
        for name, value in vars(args).items()
        if name not in ("verb", "run_verb", "debug")
    }
    if "resume" in given:
        others = ["--" + name.replace("_", "-") for name in given if name != "resume"]
        if others:
            raise ValueError(
                f"--resume takes all options from the run's start: leave out {', '.join(others)}."
            )
        training_run.resume(given["resume"])
        return 0
    if "train_data" not in given:
        raise ValueError("Give --train-data (or --train-annotations), or --resume and a run.")
    names = {field.name for field in dataclasses.fields(TrainingOptions)}
    chosen = TrainingOptions(**{name: given[name] for name in given.keys() & names})
    name, config = _config(given.get("config"), chosen.weights)
    folder = given.get("output", f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    training_run.train(chosen, config.replace(**options.given_fields(args)), folder)
    return 0


def _config(name_or_file, weights):
    """What the run's folder is named after, and the config: as said, or that of the weights."""
    from keras_maskrcnn.cli.training_run import config_of_weights

    if name_or_file is not None:
        config = MaskRCNNConfig.from_name_or_file(name_or_file)
        return pathlib.Path(name_or_file).stem, config
    config = config_of_weights(weights)
    if config is not None:
        return pathlib.Path(weights).stem, config
    return options.DEFAULT_CONFIG, MaskRCNNConfig.from_name(options.DEFAULT_CONFIG)
