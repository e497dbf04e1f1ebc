"""Datasets in TFRecord files: written once, then read one record after the other."""

import dataclasses
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

import tensorflow as tf
from rich.progress import track

from keras_maskrcnn.data.formats.shared.json_files import read_json
from keras_maskrcnn.data.formats.shared.serialization import parse_record, serialize_record
from keras_maskrcnn.data.images import exif_orientation
from keras_maskrcnn.data.masks import broken_masks
from keras_maskrcnn.data.records import (
    AnnotatedImages,
    Contents,
    Lost,
    Problem,
    Record,
    load_image,
)

NAME = "tfrecord"
INDEX = "index.json"
INDEX_KEYS = ("class_names", "category_ids", "mask_size", "shards", "source", "problems")
LAYOUT = f"a folder of TFRecords and their {INDEX}"
READ_BYTES = 1 << 20


def _are(kind, values):
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _is_count(value):
    return type(value) is int and 0 <= value < 2**63


def _is_problem(value):
    return _are(str, value[:2]) and len(value) == 3 and value[2] in (None, *get_args(Lost))


def _has_counts(value):
    counted = ("images", "annotations")
    return isinstance(value, dict) and all(_is_count(value.get(kind)) for kind in counted)


# Whether a value of the index is what `write_shards` writes there.
SOUND = {
    "class_names": lambda names: _are(str, names),
    "category_ids": lambda ids: _are(int, ids),
    "mask_size": lambda size: _is_count(size) and size > 0,
    "shards": lambda shards: isinstance(shards, dict) and all(map(_has_counts, shards.values())),
    "source": lambda source: isinstance(source, str),
    "problems": lambda problems: _are(list, problems) and all(map(_is_problem, problems)),
}


def recognise(path: pathlib.Path, images: pathlib.Path | None) -> pathlib.Path | None:
    """The folder, if it holds an index."""
    return path if (path / INDEX).is_file() else None


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
) -> Contents:
    """What TFRecord files hold, its records `StoredRecords`.

    Args:
        path: The folder, or a pattern of files in it: `"train/0000*.tfrecord"`.
        images: None, since the images are in the files.
        class_names: None, or the classes that were written.

    Raises:
        FileNotFoundError: There is no index, or no file that it names and the pattern fits.
        ValueError: The index is broken, or `images` or other classes are named.
    """
    path = pathlib.Path(path)
    if images is not None:
        raise ValueError(f"{path}: TFRecords hold the images themselves: leave out {images}.")
    folder, pattern = (path, "*") if path.is_dir() else (path.parent, path.name)
    index = _read_index(folder / INDEX)
    known = tuple(index["class_names"])
    if class_names is not None and tuple(class_names) != known:
        raise ValueError(
            f"{path}: its classes are {', '.join(known)}, expected are "
            f"{', '.join(class_names)}: TFRecords keep the classes that they were written with."
        )
    known_shards = index["shards"]
    chosen = [name for name in known_shards if pathlib.PurePath(name).match(pattern)]
    shards = {os.fspath(folder / name): known_shards[name]["images"] for name in chosen}
    missing = [shard for shard in shards if not os.path.isfile(shard)]
    if missing or not shards:
        what = f"There is no file {missing[0]}" if missing else "No file of the index fits"
        raise FileNotFoundError(f"{path}: {what}, {len(known_shards)} are expected.")
    problems = [Problem(*problem) for problem in index["problems"]]
    annotations = sum(known_shards[name]["annotations"] for name in chosen)
    records = StoredRecords(shards, index["mask_size"], len(known), _note_in(problems))
    return Contents(records, known, problems, index["category_ids"], annotations)


def write(dataset: AnnotatedImages, folder: pathlib.Path, link_images: bool) -> dict[str, int]:
    """Writes the files as `write_shards` does; they hold everything.

    Raises:
        ValueError: Images are to be linked, or none can be read.
    """
    if link_images:
        raise ValueError("TFRecords hold the images themselves: leave out link_images.")
    write_shards(dataset, folder)
    return {}


def write_shards(
    dataset: AnnotatedImages,
    folder: str | os.PathLike,
    shards: int = 16,
    mask_size: int = 112,
    verbose: bool = False,
) -> None:
    """Writes a dataset to TFRecord files and an index; see `write_tfrecords`."""
    if shards < 1 or mask_size < 1:
        raise ValueError(f"shards and mask_size must be at least 1, got {shards}, {mask_size}.")
    folder = pathlib.Path(folder)
    if (folder / INDEX).exists():
        raise FileExistsError(f"{folder} holds TFRecords already: give another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    images = len(dataset.records)
    shards = min(shards, images)
    progress = track(dataset.records, "write", transient=True, disable=not verbose)
    remaining, counts = iter(progress), {}
    for shard in range(shards):
        name = f"{shard:05}-of-{shards:05}.tfrecord"
        number = images * (shard + 1) // shards - images * shard // shards
        counts[name] = _write_shard(dataset, remaining, number, folder / name, mask_size)
    if not any(count["images"] for count in counts.values()):
        raise ValueError(
            f"{dataset.source}: none of its {images} images is usable.\n{dataset.problem_report()}"
        )
    index = {
        "class_names": dataset.class_names,
        "category_ids": dataset.category_ids,
        "mask_size": mask_size,
        "shards": counts,
        "source": dataset.source,
        "problems": [[p.where, p.what, p.lost] for p in dataset.problems],
    }
    (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


class StoredRecords(Sequence):
    """The records of TFRecord files, read anew by each iteration; those that are broken are noted.

    Args:
        shards: Number of records by the path of each file.
        mask_size: M, cells along each side of the masks.
        num_classes: Of the dataset; a record with another class is broken.
        note: Called as `Dataset.note` for each record that is broken.
    """

    def __init__(
        self,
        shards: dict[str, int],
        mask_size: int,
        num_classes: int,
        note: Callable[[str, str, Lost], None],
    ):
        self.shards = shards
        self.mask_size = mask_size
        self.num_classes = num_classes
        self.note = note

    def __len__(self) -> int:
        return sum(self.shards.values())

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        """A record or a slice; what lies before it in the files is read and passed over."""
        if isinstance(index, slice):
            return list(itertools.islice(self, *index.indices(len(self))))
        return next(itertools.islice(self, index, None))

    def __iter__(self) -> Iterator[Record]:
        serialized = shard_table(self.shards).flat_map(read_shard)
        for record, where in serialized.as_numpy_iterator():
            try:
                yield parse_record(record, self.num_classes)
            except ValueError as error:
                self.note(where.decode(), f"{error}; it is left out", "image")


def shard_table(shards: dict[str, int]) -> tf.data.Dataset:
    """The path of each file, a string, and the number of its records, int64."""
    numbers = tf.constant(list(shards.values()), tf.int64)
    return tf.data.Dataset.from_tensor_slices((list(shards), numbers))


def read_shard(path: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
    """`number` pairs of a serialized record of a file, empty if it is lost, and where it stands."""
    records = tf.data.TFRecordDataset(path, buffer_size=READ_BYTES).ignore_errors()
    lost = tf.data.Dataset.from_tensors("").repeat()
    whole = records.concatenate(lost).take(number).enumerate()
    return whole.map(
        lambda i, serialized: (
            serialized,
            tf.strings.join([path, ": record ", tf.strings.as_string(i)]),
        )
    )


def _note_in(problems):
    return lambda *problem: problems.append(Problem(*problem))


def _write_shard(dataset, records, number, path, mask_size):
    """Writes the next `number` records but those that are broken; counts what it wrote."""
    written = {"images": 0, "annotations": 0}
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for record in itertools.islice(records, number):
            try:
                image = record.encoded or pathlib.Path(record.path).read_bytes()
                pixels = load_image(dataclasses.replace(record, encoded=image))
            except (ValueError, OSError) as error:
                dataset.note(record.path, f"{error}; the image is left out", lost="image")
                continue
            record = _with_usable_masks(record, dataset)
            orientation = exif_orientation(image, pixels)
            writer.write(serialize_record(record, image, orientation, mask_size))
            written["images"] += 1
            written["annotations"] += len(record.instances)
    return written


def _with_usable_masks(record, dataset):
    """The record; an RLE that cannot be decoded is noted and dropped."""
    instances = list(record.instances)
    for index, why in broken_masks(record).items():
        where = f"{dataset.source}: annotation {instances[index].annotation_id}"
        dataset.note(where, f"{why}; it has no mask then")
        instances[index] = dataclasses.replace(instances[index], segmentation=None)
    return dataclasses.replace(record, instances=tuple(instances))


def _read_index(path):
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}: the folder was not written by write_tfrecords, or not to its end."
        )
    index = read_json(path)
    missing = [key for key in INDEX_KEYS if not isinstance(index, dict) or key not in index]
    if missing:
        raise ValueError(f"{path}: not an index of TFRecords: it has no {', '.join(missing)}.")
    for key in INDEX_KEYS:
        if not SOUND[key](index[key]):
            raise ValueError(
                f"{path}: not an index that write_tfrecords wrote: {key} is {index[key]!r:.80}."
            )
    if len(index["category_ids"]) != len(index["class_names"]):
        raise ValueError(f"{path}: it must have a number in category_ids for each of class_names.")
    return index
