"""Datasets in TFRecord files: written once, then read as a stream, whatever their number."""

import dataclasses
import itertools
import json
import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf
from rich.progress import track

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.dataset import Dataset
from keras_maskrcnn.data.formats.shared.serialization import parse_record, serialize_record
from keras_maskrcnn.data.images import exif_orientation
from keras_maskrcnn.data.masks import decode_rle
from keras_maskrcnn.data.pipeline import Augment, load_image, make_batches
from keras_maskrcnn.data.records import Contents, Problem, Record
from keras_maskrcnn.data.service import service_batches

INDEX = "index.json"
INDEX_KEYS = ("class_names", "category_ids", "mask_size", "shards", "source", "problems")
# Records among which the next one is drawn: with photos of COCO's size, 160 MB.
SHUFFLE_BUFFER = 1024
SHARDS_AT_A_TIME = 16
READ_BYTES = 1 << 20


def write_tfrecords(
    dataset,
    folder: str | os.PathLike,
    shards: int = 16,
    mask_size: int = 112,
    verbose: bool = False,
) -> "TFRecordDataset":
    """Writes a dataset to TFRecord files, with the image files' bytes as they are.

    Every image is decoded once, so that none is written that cannot be read; those are noted in
    `dataset.problems`, which go along. The folder also gets an `index.json` with the classes and
    the number of records of each file. Files of 100 to 200 MB are read best.

    Args:
        dataset: A `CocoDataset`.
        folder: Made if it is missing.
        shards: Number of files.
        mask_size: M, cells along each side of the masks; `gt_mask_size` of the configs that will
            train on them.
        verbose: Whether to show a progress bar.

    Raises:
        FileExistsError: The folder holds TFRecords already.
        ValueError: `shards` or `mask_size` is below 1, or no image can be read.

    Example:
        >>> records = write_tfrecords(CocoDataset("train.json", "images/"), "train_records")
        >>> len(records)
        118287
    """
    if shards < 1 or mask_size < 1:
        raise ValueError(f"shards and mask_size must be at least 1, got {shards}, {mask_size}.")
    folder = pathlib.Path(folder)
    if (folder / INDEX).exists():
        raise FileExistsError(f"{folder} holds TFRecords already: give another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    shards = min(shards, len(dataset.records))
    progress = track(dataset.records, "write", transient=True, disable=not verbose)
    remaining, counts = iter(progress), {}
    for shard in range(shards):
        name = f"{shard:05}-of-{shards:05}.tfrecord"
        number = len(dataset.records) * (shard + 1) // shards
        number -= len(dataset.records) * shard // shards
        counts[name] = _write_shard(dataset, remaining, number, folder / name, mask_size)
    index = {
        "class_names": dataset.class_names,
        "category_ids": dataset.category_ids,
        "mask_size": mask_size,
        "shards": counts,
        "source": dataset.source,
        "problems": [[p.where, p.what, p.lost] for p in dataset.problems],
    }
    (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
    return TFRecordDataset(folder)


class TFRecordDataset(Dataset):
    """Images and their objects in the files that `write_tfrecords` wrote.

    Nothing of them is kept in memory but what is being read.

    Args:
        path: The folder, or a pattern of files in it: `"train/0000*.tfrecord"`.

    Attributes:
        records: One `Record` an image, read anew by each iteration over them.
        class_names: The name of each class id.
        category_ids: The COCO id of each class id.
        mask_size: Cells along each side of the masks.
        problems: What had to be passed over, when writing and since.

    Raises:
        FileNotFoundError: There is no index, or no file that it names and the pattern fits.
        ValueError: The index is broken, or there is no record.

    Example:
        >>> train = TFRecordDataset("train_records")
        >>> model.fit(train.batches(model.config, batch_size=2, training=True), epochs=12)
    """

    def __init__(self, path: str | os.PathLike):
        path = pathlib.Path(path)
        folder, pattern = (path, "*") if path.is_dir() else (path.parent, path.name)
        index = _read_index(folder / INDEX)
        self.mask_size = index["mask_size"]
        shards = index["shards"]
        chosen = [name for name in shards if pathlib.PurePath(name).match(pattern)]
        self.shards = {os.fspath(folder / name): shards[name]["images"] for name in chosen}
        missing = [shard for shard in self.shards if not os.path.isfile(shard)]
        if missing or not self.shards:
            what = f"There is no file {missing[0]}" if missing else "No file of the index fits"
            raise FileNotFoundError(f"{path}: {what}, {len(index['shards'])} are expected.")
        problems = [Problem(*problem) for problem in index["problems"]]
        annotations = sum(shards[name]["annotations"] for name in chosen)
        contents = (index["class_names"], problems, index["category_ids"], annotations)
        super().__init__(path, Contents(_StoredRecords(self), *contents))

    def batches(
        self,
        config: MaskRCNNConfig,
        batch_size: int = 1,
        training: bool = False,
        seed: int = 0,
        augmentation: Augment | None = None,
        start: int = 0,
        service: str | None = None,
    ) -> tf.data.Dataset:
        """Batches `(x, y)` as the model takes them; see `data.pipeline.make_batches`.

        In training the order of the files is shuffled, several are read at a time, and each next
        record is drawn from a buffer of 1024. Not in training, the batches are those of the dataset
        that was written.

        Args:
            service: The address of a `tf.data` service, `"grpc://host:port"`, whose workers make
                the batches, in an order that no seed determines; see
                `data.service.service_batches`.

        Raises:
            ValueError: The masks are not of the size `config.gt_mask_size`; or of a service is
                asked what it has not: an order, or a start.
        """
        if config.mask and config.gt_mask_size != self.mask_size:
            raise ValueError(
                f"{self.source} holds masks of mask_size={self.mask_size}, the config asks for "
                f"gt_mask_size={config.gt_mask_size}: change the config, or write them anew."
            )
        self._log.check()
        if service is None:
            return make_batches(
                self, config, batch_size, training, seed, augmentation, start, items=self
            )
        if not training or start:
            raise ValueError("A tf.data service has no order: use it with training, without start.")
        return service_batches(
            list(self.shards), config, batch_size, augmentation, SHUFFLE_BUFFER, service
        )

    def items(self, seed: tf.Tensor | None) -> tf.data.Dataset:
        """The serialized records; see `data.pipeline.Items`."""
        paths, numbers = list(self.shards), list(self.shards.values())
        shards = tf.data.Dataset.from_tensor_slices((paths, tf.constant(numbers, tf.int64)))
        if seed is None:
            return shards.flat_map(_read_shard).map(_with_shape)
        if not tf.executing_eagerly():
            # Else the order would change with the global seed, which is no affair of the data.
            tf.random.set_seed(1)
        shards = shards.shuffle(len(paths), seed, reshuffle_each_iteration=False)
        records = shards.interleave(
            _read_shard,
            cycle_length=min(SHARDS_AT_A_TIME, len(paths)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        records = records.shuffle(SHUFFLE_BUFFER, seed, reshuffle_each_iteration=False)
        return records.map(_with_shape)

    def records_from(self, serialized: bytes, where: bytes) -> Iterator[Record]:
        """The record, and if it is broken all of the dataset; see `data.pipeline.Items`."""
        try:
            yield parse_record(serialized)
        except ValueError as error:
            self.note(where.decode(), f"{error}; another image takes its place", lost="image")
        yield from self.records


class _StoredRecords:
    """The records of a dataset, read one after the other; those that are broken are noted."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return sum(self.dataset.shards.values())

    def __getitem__(self, index):
        """A record or a slice; what lies before it in the files is read and passed over."""
        if isinstance(index, slice):
            return list(itertools.islice(self, *index.indices(len(self))))
        return next(itertools.islice(self, index, None))

    def __iter__(self):
        for (serialized, where), _ in self.dataset.items(None).as_numpy_iterator():
            try:
                yield parse_record(serialized)
            except ValueError as error:
                self.dataset.note(where.decode(), f"{error}; it is left out", lost="image")


def _write_shard(dataset, records, number, path, mask_size):
    """Writes the next `number` records but those that are broken; counts what it wrote."""
    written = {"images": 0, "annotations": 0}
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for record in itertools.islice(records, number):
            record = _with_usable_masks(record, dataset)
            try:
                image = pathlib.Path(record.path).read_bytes()
                pixels = load_image(dataclasses.replace(record, encoded=image))
            except (ValueError, OSError) as error:
                dataset.note(record.path, f"{error}; the image is left out", lost="image")
                continue
            orientation = exif_orientation(image, pixels)
            writer.write(serialize_record(record, image, orientation, mask_size))
            written["images"] += 1
            written["annotations"] += len(record.instances)
    return written


def _with_usable_masks(record, dataset):
    """The record; an RLE that cannot be decoded is noted and dropped."""
    instances = []
    for instance in record.instances:
        if isinstance(instance.segmentation, dict):
            try:
                decode_rle(instance.segmentation, record.height, record.width)
            except ValueError as error:
                where = f"{dataset.source}: annotation {instance.annotation_id}"
                dataset.note(where, f"{error}; it has no mask then")
                instance = dataclasses.replace(instance, segmentation=None)
        instances.append(instance)
    return dataclasses.replace(record, instances=tuple(instances))


def _read_index(path):
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}: the folder was not written by write_tfrecords, or not to its end."
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    missing = [key for key in INDEX_KEYS if not isinstance(index, dict) or key not in index]
    if missing:
        raise ValueError(f"{path}: not an index of TFRecords: it has no {', '.join(missing)}.")
    return index


def _read_shard(path, number):
    """`number` pairs of a serialized record and where it stands; what is lost is empty."""
    records = tf.data.TFRecordDataset(path, buffer_size=READ_BYTES).ignore_errors()
    lost = tf.data.Dataset.from_tensors("").repeat()
    whole = records.concatenate(lost).take(number).enumerate()
    return whole.map(
        lambda i, serialized: (
            serialized,
            tf.strings.join([path, ": record ", tf.strings.as_string(i)]),
        )
    )


def _with_shape(serialized, where):
    """A pair of an item and whether its image is wider than high."""
    sides = {name: tf.io.FixedLenFeature((), tf.int64, 0) for name in ("height", "width")}
    sides = tf.io.parse_single_example(serialized, sides)
    return (serialized, where), sides["width"] > sides["height"]
