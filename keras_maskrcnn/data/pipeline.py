"""From records to batches, in `tf.data`: order, decoding, resizing, flipping, cutting out masks."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import cv2
import numpy as np
import tensorflow as tf

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.crops import choose_window, crop_record, load_window
from keras_maskrcnn.data.images import resize_image, resized_shape
from keras_maskrcnn.data.masks import rasterize, recut_mask, unpack_mask
from keras_maskrcnn.data.records import AnnotatedImages, Record, load_pixels

# Batches over which pictures that lie and pictures that stand are spread evenly.
MIXED_WINDOW = 32

Augment = Callable[[dict[str, tf.Tensor], tf.Tensor], dict[str, tf.Tensor]]


class Items(Protocol):
    """Where records come from: a dataset of items, of which each stands for one."""

    def __len__(self) -> int:
        """Number of records."""

    def items(self, seed: tf.Tensor | None) -> tf.data.Dataset:
        """Pairs of an item, a tuple of tensors, and whether its image is wider than high.

        In their order if `seed` is None; else shuffled by it, an int64 scalar.
        """

    def records_from(self, *item) -> Iterator[Record]:
        """The record of an item, and then those that may take its place if it is broken."""


class ListedItems:
    """The items of records that are in memory: their indices."""

    def __init__(self, records: Sequence[Record]):
        self.records = records
        self.landscape = np.array([record.width > record.height for record in records])

    def __len__(self) -> int:
        return len(self.records)

    def items(self, seed: tf.Tensor | None) -> tf.data.Dataset:
        landscape = tf.constant(self.landscape)
        order = tf.range(len(self), dtype=tf.int64)
        if seed is not None:
            keys = tf.random.stateless_uniform((len(self),), (seed, 0), None, None, tf.int64)
            order = tf.argsort(keys, stable=True)
        indices = tf.data.Dataset.from_tensor_slices(order)
        return indices.map(lambda index: ((index,), landscape[index]))

    def records_from(self, index: int) -> Iterator[Record]:
        return (self.records[(index + i) % len(self)] for i in range(len(self)))


def make_batches(
    items: Items,
    dataset: AnnotatedImages,
    config: MaskRCNNConfig,
    batch_size: int,
    training: bool,
    seed: int,
    augmentation: Augment | None,
    start: int,
    crop_size: int | None = None,
) -> tf.data.Dataset:
    """Batches `(x, y)` of a dataset, for `fit`, `evaluate` and `training_losses`.

    In training the records are shuffled anew each epoch, half of the images are flipped, and an
    incomplete last batch is dropped (unless it is the only one). Unless batch norms train, images
    that are wider than high come in batches of their own; see `order_for_training`. Crowds
    are left out. A record that cannot be read is noted in `dataset.problems`, and another one
    takes its place. All of it depends on the seed and the epoch alone, where each iteration over
    the batches is an epoch.

    Args:
        items: Where the records come from.
        dataset: Whose records they are, for what is wrong with them.
        config: `channels` and `pixel_range`, image sizes, `max_gt_boxes`, `gt_mask_size`, whether
            there are masks, and whether batch norms train.
        batch_size: B, images a batch, padded to the largest of them.
        training: Whether to shuffle, group and flip.
        seed: Of the order, the flips, the augmentation, and which objects are kept of more than
            `max_gt_boxes`.
        augmentation: Takes the place of resizing and flipping: `augmentation(element, seed)`, in
            graph mode, of the element `{"image": (H, W, 3) uint8 RGB as in the file, or of another
            config (H, W, channels) float32, "boxes": (N, 4) float32 xyxy pixels, "classes": (N,)
            int32, -1 where padded, "masks": (N, M, M) uint8}` and a seed (2,) int32 is an element
            whose image has the size to train on.
        start: Number of batches that were seen before: with b batches an epoch, the first iteration
            begins at batch `start % b` of epoch `start // b`. Nothing is decoded for it.
        crop_size: Side of a square, in pixels of the file: of each image only such a part is seen,
            another one each time, mostly with an object in it. So small objects of large images
            keep their size; give the `tile_size` to predict with. Of a TIFF no more is read.

    Returns:
        `x = {"images": (B, H, W, channels) float32 within the config's `pixel_range`, RGB 0..255
        by default, "image_sizes": (B, 2) int32}` and
        `y = {"boxes": (B, N, 4) float32 xyxy pixels, "classes": (B, N) int32, -1 where padded,
        "masks": (B, N, M, M) uint8, cut out in the boxes}`, N at least 1.

    Raises:
        ValueError: `batch_size` or `crop_size` is below 1 or `start` below 0, or `crop_size` is
            given without `training`.
    """
    if batch_size < 1 or start < 0:
        raise ValueError(
            f"batch_size must be at least 1 and start at least 0, got {batch_size} and {start}."
        )
    if crop_size is not None and (crop_size < 1 or not training):
        raise ValueError(f"crop_size must be at least 1, and is for training; got {crop_size}.")
    drop = training and len(items) >= batch_size
    number = len(items) // batch_size if drop else -(-len(items) // batch_size)
    epoch, skipped = divmod(start, number)
    ordered = _epochs(epoch).flat_map(
        lambda e: _epoch_items(
            items,
            config,
            batch_size,
            training,
            seed,
            e,
            tf.where(e == epoch, skipped * batch_size, 0),
        )
    )
    reader = _Reader(dataset, items, config, training, augmentation, crop_size)
    elements = ordered.map(reader.element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = batch_elements(elements, batch_size, drop)
    if not skipped:
        batches = batches.apply(tf.data.experimental.assert_cardinality(number))
    # By files, several workers would not see the parts of the same batches.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.map(split_batch).prefetch(tf.data.AUTOTUNE).with_options(options)


def batch_elements(
    elements: tf.data.Dataset, batch_size: int, drop_remainder: bool
) -> tf.data.Dataset:
    """Elements padded to the largest of a batch: pixels with 0, classes with -1."""
    padding = {
        name: tf.constant(-1 if name == "classes" else 0, spec.dtype)
        for name, spec in elements.element_spec.items()
    }
    return elements.padded_batch(batch_size, padding_values=padding, drop_remainder=drop_remainder)


def order_for_training(
    items: tf.data.Dataset, config: MaskRCNNConfig, batch_size: int
) -> tf.data.Dataset:
    """Shuffled pairs (item, landscape) in the order in which batches are made of them.

    Every `batch_size` have the same `landscape`, which takes less padding; where fewer than that
    remain at the end, the two kinds follow each other.

    But where batch norms train, both kinds are spread evenly, so that each batch has its share of
    either. Pictures of a shape are often of a kind: norms that see one kind at a time keep moving
    averages that fit none, and where the mixture is left to chance the averages follow the last
    batches up and down.
    """
    if config.trains_batch_norms:
        window = items.batch(MIXED_WINDOW * batch_size)
        return window.map(_spread_evenly).unbatch()
    return items.group_by_window(
        key_func=lambda _, landscape: tf.cast(landscape, tf.int64),
        reduce_func=lambda _, window: window,
        window_size=batch_size,
    )


def _spread_evenly(items, landscape):
    """A window of pairs, each kind in its order, at even distances over the window."""
    place = tf.zeros_like(landscape, tf.float32)
    for of_kind in (landscape, ~landscape):
        rank = tf.cumsum(tf.cast(of_kind, tf.float32))  # from 1
        place = tf.where(of_kind, (rank - 0.5) / tf.maximum(rank[-1], 1.0), place)
    order = tf.argsort(place, stable=True)
    return tf.nest.map_structure(lambda part: tf.gather(part, order), (items, landscape))


def split_batch(
    element: dict[str, tf.Tensor],
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """A batch of elements as `(x, y)`."""
    x = {
        "images": tf.cast(element["image"], tf.float32),
        "image_sizes": element["image_sizes"],
    }
    return x, {name: element[name] for name in ("boxes", "classes", "masks") if name in element}


def finish_element(element: dict[str, tf.Tensor], config: MaskRCNNConfig) -> dict[str, tf.Tensor]:
    """An element with the size of its image, and at least one row, of padding if need be."""
    empty = tf.cast(tf.shape(element["classes"])[0] == 0, tf.int32)
    shapes = {
        "image": (None, None, config.channels),
        "boxes": (None, 4),
        "classes": (None,),
        "masks": (None, config.gt_mask_size, config.gt_mask_size),
    }
    finished = {"image_sizes": tf.shape(element["image"])[:2]}
    for name in shapes.keys() & element.keys():
        value = element[name]
        if name != "image":
            rows = [[0, empty]] + [[0, 0]] * (len(shapes[name]) - 1)
            value = tf.pad(value, rows, constant_values=-1 if name == "classes" else 0)
        finished[name] = tf.ensure_shape(value, shapes[name])
    return finished


def _epochs(first):
    """A dataset of one number, the epoch, which is one higher in each iteration."""
    count = itertools.count(first)
    one = tf.data.Dataset.from_tensors(0)
    return one.map(
        lambda _: tf.ensure_shape(
            tf.numpy_function(lambda: np.int64(next(count)), [], tf.int64), ()
        )
    )


def _epoch_items(items, config, batch_size, training, seed, epoch, skipped):
    """The items of an epoch in their order, each with a seed (2,) int32 of its own."""
    seed = tf.random.stateless_uniform((), (seed, epoch), None, None, tf.int64)
    ordered = items.items(seed if training else None)
    if training:
        ordered = order_for_training(ordered, config, batch_size)
    return (
        ordered.map(lambda item, _: item)
        .enumerate()
        .skip(tf.cast(skipped, tf.int64))
        .map(
            lambda position, item: (
                item,
                tf.random.stateless_uniform((2,), (seed, position), None, None, tf.int32),
            )
        )
    )


class _Reader:
    """Makes the elements of a batch from items."""

    def __init__(self, dataset, items, config, training, augmentation, crop_size):
        self.dataset = dataset
        self.items = items
        self.config = config
        self.training = training
        self.augmentation = augmentation
        self.crop_size = crop_size
        self.dtypes = {"image": tf.uint8 if config.is_rgb else tf.float32}
        self.dtypes |= {"boxes": tf.float32, "classes": tf.int32}
        if config.mask:
            self.dtypes["masks"] = tf.uint8

    def element(self, item: tuple[tf.Tensor, ...], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.numpy_function(self._read, [seed, *item], list(self.dtypes.values()))
        element = finish_element(dict(zip(self.dtypes, values, strict=True)), self.config)
        if self.augmentation is None:
            return element
        del element["image_sizes"]
        return finish_element(self.augmentation(element, seed), self.config)

    def _read(self, seed, *item):
        """The values of `dtypes` for an item, or for another one that can be read."""
        rng = np.random.default_rng(seed.view(np.uint32))
        for record in self.items.records_from(*item):
            try:
                image, record = self._look(record, rng)
            except (ValueError, OSError) as error:
                what = f"{str(error).rstrip('.')}; another image takes its place"
                self.dataset.note(record.path, what, lost="image")
                continue
            element = image, *self._targets(record, rng)
            if self.augmentation is None:
                element = self._resize_and_flip(*element, rng)
            return element[: len(self.dtypes)]
        raise ValueError(f"No image can be read.\n{self.dataset.problem_report()}")

    def _look(self, record, rng):
        """The picture of a record, or of a part of it, and the record or what the part shows."""
        if self.crop_size is None:
            return load_pixels(record, self.config), record
        window = choose_window(record, self.crop_size, rng)
        image = load_window(record, window, self.config)
        mask_in = self._mask if self.config.mask else None
        return image, crop_record(record, window, mask_in)

    def _resize_and_flip(self, image, boxes, classes, masks, rng):
        c = self.config
        height, width = image.shape[:2]
        limits = (c.image_min_size, c.image_max_size, c.resize_style)
        shape = resized_shape(height, width, *limits)
        scale = np.array(shape[::-1]) / (width, height)
        boxes = (boxes * np.tile(scale, 2)).astype(np.float32)
        image = resize_image(image, shape, c.resize_style)
        if self.training and rng.random() < 0.5:
            image = np.atleast_3d(cv2.flip(image, 1))
            masks = np.ascontiguousarray(masks[:, :, ::-1])
            boxes[:, [0, 2]] = shape[1] - boxes[:, [2, 0]]
        return image, boxes, classes, masks

    def _targets(self, record, rng):
        """Boxes in pixels of the file, classes and masks."""
        instances = [instance for instance in record.instances if not instance.crowd]
        if len(instances) > self.config.max_gt_boxes:
            chosen = range(self.config.max_gt_boxes)
            if self.training:
                chosen = np.sort(rng.permutation(len(instances))[: self.config.max_gt_boxes])
            instances = [instances[i] for i in chosen]
        size = self.config.gt_mask_size if self.config.mask else 0
        empty = np.zeros((0, 0), np.uint8)
        masks = [self._mask(i, record, i.box) if size else empty for i in instances]
        kept = [i for i, mask in enumerate(masks) if mask is not None]
        return (
            np.array([instances[i].box for i in kept], np.float32).reshape(-1, 4),
            np.array([instances[i].class_id for i in kept], np.int32),
            np.stack([masks[i] for i in kept]) if kept else np.zeros((0, size, size), np.uint8),
        )

    def _mask(self, instance, record, box):
        """The mask in a box, or None, noted, if there is none that can be used."""
        size = self.config.gt_mask_size
        where = f"{self.dataset.source}: annotation {instance.annotation_id}"
        if instance.packed_mask is not None:
            mask = unpack_mask(instance.packed_mask, size)
            return mask if box == instance.box else recut_mask(mask, instance.box, box)
        if instance.segmentation is None:
            self.dataset.note(where, "it has no segmentation; it is left out", lost="annotation")
            return None
        try:
            return rasterize(instance.segmentation, box, record.height, record.width, size)
        except ValueError as error:
            self.dataset.note(where, f"{error}; it is left out", lost="annotation")
            return None
