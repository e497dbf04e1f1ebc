"""The folder of a training run: what it began with, and how far it has come."""

import csv
import dataclasses
import json
import math
import os
import pathlib
import shlex
import sys

import keras
import tensorflow as tf

import keras_maskrcnn
from keras_maskrcnn.cli.training_options import TrainingOptions
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data import Dataset


def check_new(folder: pathlib.Path) -> None:
    """Checks that a new run may go to a folder.

    Raises:
        ValueError: It is in use.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and not empty: choose another --output.")


def begun_run(folder: pathlib.Path) -> tuple[TrainingOptions, MaskRCNNConfig]:
    """The options and the config that a run began with.

    Raises:
        ValueError: The run has ended, or another version of this package began it.
        FileNotFoundError: It is no run folder.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no run.json: it is no run folder of train.")
    if (folder / "last.keras").is_file() and not (folder / "backup").is_dir():
        raise ValueError(f"The run in {folder} has ended: there is nothing to go on with.")
    options = json.loads(path.read_text(encoding="utf-8"))["options"]
    unknown = options.keys() - {field.name for field in dataclasses.fields(TrainingOptions)}
    if unknown:
        raise ValueError(
            f"{path}: unknown options {', '.join(sorted(unknown))}: go on with the version of "
            "keras_maskrcnn that began the run."
        )
    return TrainingOptions(**options), MaskRCNNConfig.from_yaml(folder / "config.yaml")


def note_start(
    folder: pathlib.Path,
    options: TrainingOptions,
    config: MaskRCNNConfig,
    train_set: Dataset,
    val_set: Dataset | None,
) -> None:
    """Write down what a run starts with; of one that goes on, check that it is the same.

    Raises:
        ValueError: The number of pictures has changed.
    """
    facts = {
        "options": dataclasses.asdict(options),
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


def write_results(results: dict[str, float], path: str | os.PathLike) -> None:
    """Write COCO's figures as JSON, which has no NaN: what could not be measured is null."""
    values = {name: None if math.isnan(value) else value for name, value in results.items()}
    pathlib.Path(path).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def say(text: str) -> None:
    """Print a remark beside the results, on stderr."""
    print(f"keras-maskrcnn: {text}", file=sys.stderr)
