"""From records to batches, in `tf.data`: decoding, resizing, flipping, cutting out masks."""

import numpy as np
import tensorflow as tf

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.images import read_image, resize_image, resized_shape
from keras_maskrcnn.data.masks import rasterize
from keras_maskrcnn.data.records import Record


def make_batches(
    dataset, config: MaskRCNNConfig, batch_size: int = 1, training: bool = False, seed: int = 0
) -> tf.data.Dataset:
    """Batches `(x, y)` of a dataset, for `fit`, `evaluate` and `training_losses`.

    In training the records are shuffled anew each epoch, half of the images are flipped, and an
    incomplete last batch is dropped (unless it is the only one). Crowds are left out. A record
    that cannot be read is noted in `dataset.problems`, and the next one takes its place. All of it
    is the same for the same seed.

    Args:
        dataset: A `Dataset`.
        config: Image sizes, `max_gt_boxes`, `gt_mask_size`, and whether there are masks.
        batch_size: B, images a batch, padded to the largest of them.
        training: Whether to shuffle and flip.
        seed: Of the order, the flips, and which objects are kept of more than `max_gt_boxes`.

    Returns:
        `x = {"images": (B, H, W, 3) float32 RGB 0..255, "image_sizes": (B, 2) int32}` and
        `y = {"boxes": (B, N, 4) float32 xyxy pixels, "classes": (B, N) int32, -1 where padded,
        "masks": (B, N, M, M) uint8, cut out in the boxes}`, N at least 1.
    """
    reader = _Reader(dataset, config, training)
    number = len(dataset.records)
    indices = tf.data.Dataset.range(number)
    if training:
        indices = indices.shuffle(number, seed=seed, reshuffle_each_iteration=True)
    draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    elements = tf.data.Dataset.zip(indices, draws).map(
        reader.element, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    batches = elements.padded_batch(
        batch_size,
        padding_values=reader.padding_values(),
        drop_remainder=training and number >= batch_size,
    )
    return batches.map(_split).prefetch(tf.data.AUTOTUNE)


def _split(element):
    x = {
        "images": tf.cast(element["images"], tf.float32),
        "image_sizes": element["image_sizes"],
    }
    return x, {name: element[name] for name in ("boxes", "classes", "masks") if name in element}


class _Reader:
    """Makes the elements of a batch from records."""

    def __init__(self, dataset, config, training):
        self.dataset = dataset
        self.config = config
        self.training = training
        size = config.gt_mask_size
        self.signature = {
            "images": (tf.uint8, (None, None, 3), 0),
            "image_sizes": (tf.int32, (2,), 0),
            "boxes": (tf.float32, (None, 4), 0.0),
            "classes": (tf.int32, (None,), -1),
        }
        if config.mask:
            self.signature["masks"] = (tf.uint8, (None, size, size), 0)

    def padding_values(self):
        return {
            name: tf.constant(value, dtype) for name, (dtype, _, value) in self.signature.items()
        }

    def element(self, index: tf.Tensor, draw: tf.Tensor) -> dict[str, tf.Tensor]:
        dtypes = [dtype for dtype, *_ in self.signature.values()]
        values = tf.numpy_function(self._read, [index, draw], dtypes)
        for value, (_, shape, _) in zip(values, self.signature.values(), strict=True):
            value.set_shape(shape)
        return dict(zip(self.signature, values, strict=True))

    def _read(self, index, draw):
        """The values of `signature` for a record, or for the next one that can be read."""
        rng = np.random.default_rng(int(draw))
        records = self.dataset.records
        for offset in range(len(records)):
            record = records[(int(index) + offset) % len(records)]
            try:
                image = self._read_image(record)
            except (ValueError, OSError) as error:
                what = f"{str(error).rstrip('.')}; another image takes its place"
                self.dataset.note(record.path, what, lost="image")
                continue
            return self._prepare(image, record, rng)
        raise ValueError(f"No image can be read.\n{self.dataset.problem_report()}")

    def _read_image(self, record):
        image = read_image(record.path)
        if image.shape[:2] != (record.height, record.width):
            raise ValueError(
                f"the image is {image.shape[1]}x{image.shape[0]}, its annotation says "
                f"{record.width}x{record.height}"
            )
        return image

    def _prepare(self, image, record, rng):
        c = self.config
        limits = (c.image_min_size, c.image_max_size, c.resize_style)
        shape = resized_shape(record.height, record.width, *limits)
        boxes, classes, masks = self._targets(record, rng)
        scale = np.array(shape[::-1]) / (record.width, record.height)
        boxes = (boxes * np.tile(scale, 2)).astype(np.float32)
        image = resize_image(image, shape, c.resize_style)
        if self.training and rng.random() < 0.5:
            image, masks = image[:, ::-1], masks[:, :, ::-1]
            boxes[:, [0, 2]] = shape[1] - boxes[:, [2, 0]]
            boxes[classes < 0] = 0.0
        values = [np.ascontiguousarray(image), np.array(shape, np.int32), boxes, classes]
        return [*values, np.ascontiguousarray(masks)] if c.mask else values

    def _targets(self, record: Record, rng):
        """Boxes in pixels of the file, classes and masks; one that is padding if there is none."""
        size = self.config.gt_mask_size
        instances = [instance for instance in record.instances if not instance.crowd]
        if len(instances) > self.config.max_gt_boxes:
            chosen = range(self.config.max_gt_boxes)
            if self.training:
                chosen = np.sort(rng.permutation(len(instances))[: self.config.max_gt_boxes])
            instances = [instances[i] for i in chosen]
        boxes, classes, masks = [], [], []
        for instance in instances:
            mask = self._mask(instance, record) if self.config.mask else None
            if self.config.mask and mask is None:
                continue
            boxes.append(instance.box)
            classes.append(instance.class_id)
            masks.append(mask)
        if not boxes:
            return np.zeros((1, 4)), np.array([-1], np.int32), np.zeros((1, size, size), np.uint8)
        masks = np.stack(masks) if self.config.mask else np.zeros((len(boxes), 0, 0), np.uint8)
        return np.array(boxes), np.array(classes, np.int32), masks

    def _mask(self, instance, record):
        """The mask in its box, or None, noted, if there is none that can be used."""
        where = f"{self.dataset.source}: annotation {instance.annotation_id}"
        if instance.segmentation is None:
            self.dataset.note(where, "it has no segmentation; it is left out", lost="annotation")
            return None
        try:
            size = self.config.gt_mask_size
            return rasterize(instance.segmentation, instance.box, record.height, record.width, size)
        except ValueError as error:
            self.dataset.note(where, f"{error}; it is left out", lost="annotation")
            return None
