"""The picture files that `predict` is given, and what is found in them, one after the other."""

import argparse
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from keras_maskrcnn.cli import options

if TYPE_CHECKING:
    from keras_maskrcnn.detections import Detections

PICTURES = (".bmp", ".jpeg", ".jpg", ".npy", ".png", ".tif", ".tiff", ".webp")


def picture_files(names: Iterable[str]) -> list[pathlib.Path]:
    """The files named, folders replaced by the pictures in them.

    Raises:
        ValueError: None is named, or a folder holds no picture.
    """
    if not names:
        raise ValueError("Give pictures, folders of pictures, or a list with --input-list.")
    files = []
    for path in map(pathlib.Path, names):
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found = [file for file in inside if file == path or file.suffix.lower() in PICTURES]
        if not found:
            raise ValueError(f"Folder {path} holds no pictures ({' '.join(PICTURES)}).")
        files += found
    return files


def find_in_files(
    model, files: Sequence[pathlib.Path], args: argparse.Namespace, failures: list[str]
) -> Iterator[tuple[int, pathlib.Path, "Detections"]]:
    """The number, from 1, of each picture, its file, and what is found in it and scores enough.

    Args:
        model: A `MaskRCNN`.
        files: The pictures.
        args: The options of `predict`.
        failures: Gets a line for each file that cannot be read, which is passed over.
    """
    from rich.progress import track

    tiles = options.given_tiles(args)
    progress = track(files, "predict", disable=not sys.stderr.isatty())
    for number, file in enumerate(progress, 1):
        try:
            (found,) = model.predict([str(file)], args.batch_size, verbose=0, **tiles)
        except (ValueError, OSError) as error:
            failures.append(f"{file}: {' '.join(str(error).split())}")
        else:
            yield number, file, found[found.scores >= least_score(args, model)]


def least_score(args: argparse.Namespace, model) -> float:
    """The score from which `predict` keeps objects."""
    if args.score_threshold is not None:
        return args.score_threshold
    return 0.0 if model.config.class_score_thresholds else 0.5


def say_failures(failures: Sequence[str]) -> int:
    """Names the files that were passed over on stderr; the exit code, 1 if there are any."""
    for failure in failures:
        print(f"keras-maskrcnn: passed over {failure}", file=sys.stderr)
    return 1 if failures else 0
