"""Batches made by the processes of a `tf.data` service.

A Python function cannot be sent to another process, so here images are decoded and resized by
TensorFlow's own operations. The workers need TensorFlow, not this package, and see the files at the
same path; a dispatcher and, on as many machines as there are, workers:

    import tensorflow as tf
    service = tf.data.experimental.service
    config = service.DispatcherConfig(port=5000)
    service.DispatchServer(config).join()

    config = service.WorkerConfig(dispatcher_address="host:5000", worker_address="this-host:5001",
                                  port=5001)
    service.WorkerServer(config).join()

and then `TFRecordDataset("train").batches(config, 2, training=True, service="grpc://host:5000")`.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.formats.shared.serialization import is_landscape
from keras_maskrcnn.data.pipeline import (
    Augment,
    batch_elements,
    finish_element,
    order_for_training,
    split_batch,
)

SHARDS_AT_A_TIME = 4

FEATURES = {
    "image": tf.io.FixedLenFeature((), tf.string),
    "orientation": tf.io.FixedLenFeature((), tf.int64),
    "height": tf.io.FixedLenFeature((), tf.int64),
    "width": tf.io.FixedLenFeature((), tf.int64),
    "boxes": tf.io.VarLenFeature(tf.float32),
    "classes": tf.io.VarLenFeature(tf.int64),
    "crowds": tf.io.VarLenFeature(tf.int64),
    "masks": tf.io.VarLenFeature(tf.string),
}


def service_batches(
    shards: Sequence[str],
    config: MaskRCNNConfig,
    batch_size: int,
    augmentation: Augment | None,
    shuffle_buffer: int,
    service: str,
) -> tf.data.Dataset:
    """Training batches `(x, y)` from the workers of a service, in no particular order.

    The files are shared out among the workers, four at a time, so that each record is seen once an
    epoch; each worker drops an incomplete last batch of its own. The order is another one in each
    epoch and run. Pixels differ from those that `make_batches` gives: on COCO's photos enlarged to
    800 pixels by 0.12 of 255 in the mean and 1 at most, reduced to 128 pixels by 1.6 in the mean
    and 44 at most, since the smoothing is another (in torchvision's style, without it, by 1 at
    most). Records that are broken, and images that are not JPEG, PNG or GIF, are passed over and
    logged by the worker; they are not noted.

    Args:
        shards: Paths of the TFRecord files, best eight or more a worker.
        config: Image sizes, `max_gt_boxes`, `gt_mask_size`, and whether there are masks.
        batch_size: Images a batch.
        augmentation: As in `make_batches`, of stock TensorFlow operations.
        shuffle_buffer: Records among which a worker draws the next one.
        service: `"grpc://host:port"` of the dispatcher.
    """
    paths = tf.data.Dataset.from_tensor_slices(list(shards)).shuffle(len(shards))
    # A group_by_window outside would keep the workers from sharing the paths out.
    ordered = paths.batch(SHARDS_AT_A_TIME).flat_map(
        lambda some: _read_shards(some, shuffle_buffer, config, batch_size)
    )
    elements = ordered.map(
        lambda serialized: stock_element(serialized, _random_seed(), config, augmentation),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    batches = batch_elements(elements.ignore_errors(log_warning=True), batch_size, True)
    batches = batches.apply(
        tf.data.experimental.service.distribute(
            tf.data.experimental.service.ShardingPolicy.DYNAMIC, service
        )
    )
    return batches.map(split_batch).prefetch(tf.data.AUTOTUNE)


def _read_shards(paths, shuffle_buffer, config, batch_size):
    """The records of some shards, shuffled and ordered for batches of training."""
    # Without a seed the order is another one in each epoch; the global one would fix it.
    tf.random.set_seed(None)
    records = tf.data.Dataset.from_tensor_slices(paths).interleave(
        lambda path: tf.data.TFRecordDataset(path).ignore_errors(log_warning=True),
        cycle_length=SHARDS_AT_A_TIME,
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    shuffled = records.shuffle(shuffle_buffer)
    ordered = shuffled.map(lambda serialized: (serialized, is_landscape(serialized)))
    return order_for_training(ordered, config, batch_size).map(lambda serialized, _: serialized)


def _random_seed():
    """A seed (2,) int32; seeds of 0 make it another one in each worker and epoch."""
    numbers = tf.raw_ops.RandomUniformInt(
        shape=(1,),
        minval=tf.constant(0, tf.int64),
        maxval=tf.constant(2**62, tf.int64),
        seed=0,
        seed2=0,
    )
    return tf.bitcast(numbers[0], tf.int32)


def stock_element(
    serialized: tf.Tensor, seed: tf.Tensor, config: MaskRCNNConfig, augmentation: Augment | None
) -> dict[str, tf.Tensor]:
    """An element of a training batch, of a serialized record, by stock operations alone.

    Args:
        serialized: A scalar string, as `write_tfrecords` writes it.
        seed: (2,) int32.
        config: Image sizes, `max_gt_boxes`, `gt_mask_size`, and whether there are masks.
        augmentation: As in `make_batches`.
    """
    example = tf.io.parse_single_example(serialized, FEATURES)
    # In spite of its name it reads PNG and GIF too, and unlike decode_image JPEG exactly.
    image = tf.io.decode_jpeg(example["image"], channels=3, dct_method="INTEGER_ACCURATE")
    image = _upright(tf.ensure_shape(image, (None, None, 3)), example["orientation"])
    element = {"image": image, **_targets(example, config, seed)}
    element = (
        augmentation(element, seed) if augmentation else _resize_and_flip(element, config, seed)
    )
    return finish_element(element, config)


def _targets(example, config, seed):
    """Boxes in pixels of the file, classes and masks of the objects to train on."""
    boxes = tf.reshape(tf.sparse.to_dense(example["boxes"]), (-1, 4))
    masks = tf.sparse.to_dense(example["masks"])
    usable = tf.sparse.to_dense(example["crowds"]) == 0
    if config.mask:
        usable &= tf.strings.length(masks) > 0
    kept = tf.where(usable)[:, 0]
    keys = tf.random.stateless_uniform(tf.shape(kept), seed)
    kept = tf.gather(kept, tf.sort(tf.argsort(keys)[: config.max_gt_boxes]))
    targets = {
        "boxes": tf.gather(boxes, kept),
        "classes": tf.cast(tf.gather(tf.sparse.to_dense(example["classes"]), kept), tf.int32),
    }
    if config.mask:
        targets["masks"] = _unpack(tf.gather(masks, kept), config.gt_mask_size)
    return targets


def _unpack(packed, size):
    """Masks (N, size, size) uint8 of their bits, a string each."""
    number = (size * size + 7) // 8
    octets = tf.io.decode_raw(packed, tf.uint8, fixed_length=number)
    bits = tf.bitwise.right_shift(octets[..., None], np.arange(7, -1, -1, dtype=np.uint8)) & 1
    bits = tf.reshape(bits, (-1, 8 * number))[:, : size * size]
    return tf.reshape(bits, (-1, size, size))


def _resize_and_flip(element, config, seed):
    height, width = tf.unstack(tf.shape(element["image"])[:2])
    new = _resized_shape(height, width, config)
    smooth = config.resize_style != "torchvision"
    image = tf.image.resize(element["image"], new, antialias=smooth)
    image = tf.saturate_cast(tf.round(image), tf.uint8)
    scale = tf.cast(new[::-1] / tf.stack([width, height]), tf.float32)
    boxes = element["boxes"] * tf.tile(scale, [2])
    element = {**element, "image": image, "boxes": boxes}
    flip = tf.random.stateless_uniform((), seed) < 0.5
    return tf.cond(flip, lambda: _flipped(element), lambda: element)


def _flipped(element):
    width = tf.cast(tf.shape(element["image"])[1], tf.float32)
    x0, y0, x1, y1 = tf.unstack(element["boxes"], axis=1)
    boxes = tf.stack([width - x1, y0, width - x0, y1], axis=1)
    flipped = {**element, "image": element["image"][:, ::-1], "boxes": boxes}
    if "masks" in element:
        flipped["masks"] = element["masks"][:, :, ::-1]
    return flipped


def _resized_shape(height, width, config):
    """`images.resized_shape` in TensorFlow."""
    sides = tf.cast(tf.stack([height, width]), tf.float64)
    scale = tf.minimum(
        config.image_min_size / tf.reduce_min(sides), config.image_max_size / tf.reduce_max(sides)
    )
    half = 0.0 if config.resize_style == "torchvision" else 0.5
    return tf.maximum(tf.cast(sides * scale + half, tf.int32), 1)


def _upright(image, orientation):
    """`images.turn_upright` in TensorFlow."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    image = tf.cond(mirrored, lambda: image[:, ::-1], lambda: image)
    upside_down = tf.reduce_any(orientation == [3, 4, 7, 8])
    return tf.cond(upside_down, lambda: image[::-1], lambda: image)
