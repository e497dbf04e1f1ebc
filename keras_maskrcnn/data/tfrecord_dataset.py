"""Datasets in TFRecord files, read as a stream, whatever the number of their images."""

import os
import warnings
from collections.abc import Iterator

import tensorflow as tf

from keras_maskrcnn.batch import describe_pixels
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.dataset import Dataset
from keras_maskrcnn.data.formats import tfrecord
from keras_maskrcnn.data.formats.shared.serialization import is_landscape, parse_record
from keras_maskrcnn.data.formats.tfrecord import StoredRecords, read_shard, shard_table
from keras_maskrcnn.data.pipeline import Augment, make_batches
from keras_maskrcnn.data.problems import nothing_to_train_on
from keras_maskrcnn.data.records import AnnotatedImages, Record
from keras_maskrcnn.data.service import service_batches

# Records among which the next one is drawn: with photos of COCO's size, 160 MB.
SHUFFLE_BUFFER = 1024
SHARDS_AT_A_TIME = 16


def write_tfrecords(
    dataset: AnnotatedImages,
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
        dataset: A `Dataset`.
        folder: Made if it is missing.
        shards: Number of files.
        mask_size: M, cells along each side of the masks; `gt_mask_size` of the configs that will
            train on them.
        verbose: Whether to show a progress bar.

    Raises:
        FileExistsError: The folder holds TFRecords already.
        ValueError: `shards` or `mask_size` is below 1, or no image can be read.

    Example:
        >>> dataset = km.data.shapes.generate("shapes", 4)
        >>> records = write_tfrecords(dataset, "shapes_records", shards=2)
        >>> len(records)
        4
    """
    tfrecord.write_shards(dataset, folder, shards, mask_size, verbose)
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
        >>> written = write_tfrecords(train, "train_records")
        >>> records = TFRecordDataset("train_records")
        >>> history = model.fit(records.batches(model.config, batch_size=2, training=True))
    """

    def __init__(self, path: str | os.PathLike):
        contents = tfrecord.read(path)
        contents.records.note = self.note  # which stops where too much is broken
        self.shards = contents.records.shards
        self.mask_size = contents.records.mask_size
        super().__init__(path, contents)

    def batches(
        self,
        config: MaskRCNNConfig,
        batch_size: int = 1,
        training: bool = False,
        seed: int = 0,
        augmentation: Augment | None = None,
        start: int = 0,
        crop_size: int | None = None,
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
            ValueError: The masks are not of the size `config.gt_mask_size`; a class id means one
                thing here and another to the model; or of a service is asked what it has not: an
                order, a start, crops, or other channels than RGB.
        """
        if config.mask and config.gt_mask_size != self.mask_size:
            raise ValueError(
                f"{self.source} holds masks of mask_size={self.mask_size}, the config asks for "
                f"gt_mask_size={config.gt_mask_size}: change the config, or write them anew."
            )
        self._log.check()
        self.check_classes(config)
        if training:
            # What is broken among the first is noted when it is met in training.
            counted = (self.shards, self.mask_size, len(self.class_names))
            records = StoredRecords(*counted, lambda *_: None)
            nothing = nothing_to_train_on(self.source, records)
            if nothing:
                warnings.warn(nothing, stacklevel=2)
        if service is None:
            how = batch_size, training, seed, augmentation, start, crop_size
            return make_batches(self, self, config, *how)
        if not config.is_rgb:
            raise ValueError(
                "The workers of a tf.data service read images as RGB 0..255; the config has "
                f"{describe_pixels(config)}: leave out service."
            )
        if not training or start or crop_size:
            raise ValueError(
                "A tf.data service has no order and no crops: use it with training, without start "
                "and crop_size."
            )
        return service_batches(
            list(self.shards), config, batch_size, augmentation, SHUFFLE_BUFFER, service
        )

    def items(self, seed: tf.Tensor | None) -> tf.data.Dataset:
        """The serialized records; see `data.pipeline.Items`."""
        shards = shard_table(self.shards)
        if seed is None:
            return shards.flat_map(read_shard).map(_item)
        if not tf.executing_eagerly():
            # Else the order would change with the global seed, which is no affair of the data.
            tf.random.set_seed(1)
        shards = shards.shuffle(len(self.shards), seed, reshuffle_each_iteration=False)
        records = shards.interleave(
            read_shard,
            cycle_length=min(SHARDS_AT_A_TIME, len(self.shards)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        records = records.shuffle(SHUFFLE_BUFFER, seed, reshuffle_each_iteration=False)
        return records.map(_item)

    def records_from(self, serialized: bytes, where: bytes) -> Iterator[Record]:
        """The record, and if it is broken all of the dataset; see `data.pipeline.Items`."""
        try:
            yield parse_record(serialized, len(self.class_names))
        except ValueError as error:
            self.note(where.decode(), f"{error}; another image takes its place", lost="image")
        yield from self.records


def _item(serialized, where):
    return (serialized, where), is_landscape(serialized)
