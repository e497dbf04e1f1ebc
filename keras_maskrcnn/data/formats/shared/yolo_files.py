"""What Ultralytics' `data.yaml` says: the classes, and where the images of each split lie."""

import contextlib
import itertools
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from keras_maskrcnn.data.formats.shared.finding import SUFFIXES
from keras_maskrcnn.data.formats.shared.json_files import START
from keras_maskrcnn.data.formats.shared.text_files import encoding_of, read_text
from keras_maskrcnn.data.records import Problem

FILE_NAME = "data.yaml"
SPLITS = ("train", "val", "test")
MOST_BYTES = 2**20  # of a data.yaml, which takes YAML seconds to read
LEVELS = 3  # from a folder of images up to the data.yaml: images/train/, train/images/
NUMBER = re.compile("[0-9]{1,9}")  # of a class
KEYS = (r"^names\s*:", r"^(train|val|test)\s*:")


class Description(NamedTuple):
    """A `data.yaml`.

    Args:
        file: The file.
        names: The class of each number in the label files.
        splits: By its name, the folders and lists of images of each split.
        problems: What is doubtful about it.
    """

    file: pathlib.Path
    names: dict[int, str]
    splits: dict[str, list[pathlib.Path]]
    problems: list[Problem]


def is_description(file: pathlib.Path) -> bool:
    """Whether a file is a YAML file with the keys of a `data.yaml`, by its first 64 KB."""
    if file.suffix not in (".yaml", ".yml") or not file.is_file():
        return False
    with file.open("rb") as opened:
        data = opened.read(START)
    start = data.decode(encoding_of(data), errors="replace")
    return all(re.search(key, start, re.MULTILINE) for key in KEYS)


def find_descriptions(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files of a folder that are one; only `data.yaml`, if it is among them."""
    if is_description(folder / FILE_NAME):
        return [folder / FILE_NAME]
    return list(filter(is_description, sorted(folder.glob("*.y*ml"))))


def describing_file(split: pathlib.Path) -> pathlib.Path | None:
    """The `data.yaml` above a folder or list of images that names it as a split."""
    split = _absolute(split)
    for folder in list(split.parents)[:LEVELS]:
        for file in find_descriptions(folder):
            with contextlib.suppress(ValueError):  # it need not be meant
                splits = read_description(file).splits.values()
                if any(entry in (split, split / "images") for entry in itertools.chain(*splits)):
                    return file
    return None


def read_description(file: pathlib.Path) -> Description:
    """What a `data.yaml` holds.

    Raises:
        ValueError: It is no YAML, or lacks something, or is one of another task.
    """
    content = _load(file)
    if "kpt_shape" in content:
        raise ValueError(f"{file}: it has kpt_shape: a dataset of poses, which has no masks.")
    names = _names(content.get("names"), file)
    problems = []
    number = content.get("nc")
    if isinstance(number, str) and number.strip() != str(len(names)):
        what = f"nc is {number:.20}, but there are {len(names)} names; the names count"
        problems.append(Problem(str(file), what))
    splits = {name: _entries(content, name, file) for name in SPLITS if content.get(name)}
    return Description(file, names, splits, problems)


def list_images(entry: pathlib.Path) -> list[pathlib.Path]:
    """The images in a folder and its subfolders, sorted, or those that a list (.txt) names."""
    if entry.is_dir():
        return sorted(path for path in entry.rglob("[!.]*") if path.suffix.lower() in SUFFIXES)
    lines = read_text(entry).splitlines()
    names = (line.strip().replace("\\", "/") for line in lines)
    return [_absolute(entry.parent / name) for name in names if name]


def label_path(image: pathlib.Path) -> pathlib.Path:
    """The text file of an image: in `labels/` for the last `images/` of its path."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return pathlib.Path(*parts).with_suffix(".txt")


def _load(file):
    if file.stat().st_size > MOST_BYTES:
        raise ValueError(f"{file}: not a data.yaml: it has more than {MOST_BYTES} bytes.")
    text = read_text(file)
    try:
        # Every value as text: a class called no, 7 or 1e3 keeps its name.
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{file}: not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: not a data.yaml: it has no names, train or val.")
    return content


def _names(names: Any, file) -> dict[int, str]:
    if isinstance(names, list):
        numbered = list(enumerate(names))
    elif isinstance(names, dict):
        numbered = list(names.items())
    else:
        raise ValueError(f"{file}: names must be a list, or say the name of each number.")
    result = {}
    for number, name in numbered:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{file}: names[{number}] must be the name of a class.")
        if not NUMBER.fullmatch(str(number).strip()):
            raise ValueError(f"{file}: names: {number!r:.40} is not the number of a class.")
        result[int(number)] = name.strip()
    return dict(sorted(result.items()))


def _entries(content, split, file) -> list[pathlib.Path]:
    entries = content[split] if isinstance(content[split], list) else [content[split]]
    if not all(isinstance(entry, str) and entry.strip() for entry in entries):
        raise ValueError(f"{file}: {split} must be a folder or a list of images, or several.")
    root = content.get("path")
    root = root.strip().replace("\\", "/") if isinstance(root, str) else ""
    return [_entry(entry.strip().replace("\\", "/"), root, file.parent) for entry in entries]


def _entry(entry, root, folder) -> pathlib.Path:
    """A folder or list of images; the first place where it is."""
    places = [_absolute(place) for place in _places(entry, root, folder)]
    return next((place for place in places if place.exists()), places[0])


def _places(entry: str, root: str, folder: pathlib.Path) -> Iterator[pathlib.Path]:
    yield folder / root / entry
    # `path` may be that of another machine, or the name of the folder itself.
    yield folder / entry
    # Roboflow writes ../train/images for train/images.
    yield folder / entry.removeprefix("../")


def _absolute(path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(os.path.abspath(path))
