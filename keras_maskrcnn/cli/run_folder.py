"""The folder of a training run: what it began with, and how far it has come."""

import argparse
import csv
import json
import os
import pathlib
import shlex
import sys
import time

import keras
import tensorflow as tf

import keras_maskrcnn
from keras_maskrcnn.cli import parser as cli_parser
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data import CocoDataset


def new_folder(args: argparse.Namespace) -> pathlib.Path:
    """Where a new run goes; `note_start` makes it.

    Raises:
        ValueError: It is in use.
    """
    name = f"{pathlib.Path(args.config).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = pathlib.Path(args.output or pathlib.Path("runs") / name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and not empty: choose another --output.")
    return folder


def begun_run(args: argparse.Namespace) -> tuple[argparse.Namespace, MaskRCNNConfig]:
    """The options and the config that the run of `--resume` began with.

    Raises:
        ValueError: Other options are given too, or the run has ended.
        FileNotFoundError: It is no run folder.
    """
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


def note_start(
    folder: pathlib.Path,
    args: argparse.Namespace,
    config: MaskRCNNConfig,
    train_set: CocoDataset,
    val_set: CocoDataset | None,
) -> None:
    """Write down what a run starts with; of one that goes on, check that it is the same.

    Raises:
        ValueError: The number of pictures has changed.
    """
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
    say(f"should it be interrupted: keras-maskrcnn train --resume {shlex.quote(str(folder))}")


def _check_same(begun, now):
    for name in ("train_images", "val_images"):
        if begun[name] != now[name]:
            raise ValueError(
                f"The data has changed since the run began: {name} was {begun[name]} and is "
                f"{now[name]}. Put the files back, or start a new run."
            )
    if begun["versions"] != now["versions"]:
        say(f"warning: the run began with {begun['versions']}, and goes on with {now['versions']}")


def epochs_before(path: pathlib.Path, epoch: int) -> list[dict[str, float]]:
    """The figures of the epochs before `epoch`; what the log holds beyond them is cut off.

    Args:
        path: What `keras.callbacks.CSVLogger` has written, if it is there.
        epoch: The one that training goes on with.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if not lines:
        return []
    lines = lines[: 1 + epoch]
    shorter = path.with_suffix(".new")
    content = "".join(f"{line}\r\n" for line in lines)
    shorter.write_text(content, encoding="utf-8", newline="")
    os.replace(shorter, path)
    rows = csv.DictReader(lines)
    return [{name: float(value) for name, value in row.items() if value != "NA"} for row in rows]


def say(text: str) -> None:
    """Print a remark beside the results, on stderr."""
    print(f"keras-maskrcnn: {text}", file=sys.stderr)
