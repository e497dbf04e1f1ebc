"""From images of any size to `Detections` in their own pixels."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import PIL.Image
import tensorflow as tf
from rich.progress import Progress, track

from keras_maskrcnn.batch import check_batch
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.images import resize_image, resized_shape
from keras_maskrcnn.data.stored import as_pixels, read_pixels
from keras_maskrcnn.data.windows import WholeImage, WindowedImage, open_windows
from keras_maskrcnn.detections import Detections
from keras_maskrcnn.prediction.test_time_augmentation import AugmentedDetector
from keras_maskrcnn.prediction.tiles import check_tiles, find_in_tiles
from keras_maskrcnn.training.distribution import one_replica

STORED_MODES = ("L", "LA", "RGB", "RGBA", "I", "F")  # Pillow's, whose channels are what they are
Image = str | os.PathLike | np.ndarray | PIL.Image.Image


def predict(
    model: keras.Model,
    x: Image | Sequence[Image] | Mapping[str, Any] | tf.data.Dataset,
    batch_size: int = 1,
    verbose: int | str = "auto",
    steps: int | None = None,
    callbacks: Iterable[keras.callbacks.Callback] | None = None,
    augment: bool = False,
    tile_size: int | None = None,
    tile_overlap: float = 0.25,
) -> list[Detections]:
    """Finds the objects in images.

    Images are resized by the rule of the model's config, and what is found is brought back to
    the pixels of the image that was given.

    Under a `tf.distribute` strategy the first replica of each process does all of it.

    With `augment` each image is looked at in nine sizes, from half to one and a half times the
    config's, and in each of them mirrored too. That finds more and takes about forty times as
    long; see `keras_maskrcnn.prediction.test_time_augmentation.AugmentedDetector`.

    With `tile_size` each image is looked at in overlapping squares of that side, and what is found
    in them is put together; see `keras_maskrcnn.prediction.seams`. Each square is resized as an
    image would be. Memory grows with the objects, not with the image: a TIFF is read window by
    window, and masks are kept as runs. An image that fits into a square is looked at as without
    `tile_size`.

    Args:
        model: A `MaskRCNN`.
        x: One of
            - a list of paths, arrays (H, W, 3), RGB 0..255, and Pillow's images, of any sizes, or
              a single one; a file is turned as its EXIF orientation says, Pillow's image is not;
              of a config with other `channels` or `pixel_range`, these;
            - an array (B, H, W, 3) of images of one size;
            - a batch `{"images": ..., "image_sizes": ...}`, which is used as it is: its pixels
              are those of the result;
            - a `tf.data.Dataset` of such batches, alone or with targets, or of single images
              (H, W, 3).
        batch_size: Images, or tiles, at a time; smaller ones of a batch are padded to the largest.
        verbose: As in `keras.Model.predict`: 0, 1, 2 or `"auto"`.
        steps: Batches after which to stop.
        callbacks: As in `keras.Model.predict`.
        augment: Whether to use test-time augmentation; images, not batches, go one at a time.
        tile_size: Side of the squares, in pixels of the image; None looks at it whole. Images, not
            batches, go one at a time.
        tile_overlap: Least share of a square that the next one has in common with it, from 0 to
            below 1. Objects that are no longer than that are whole in one of them.

    Returns:
        One `Detections` an image, in order; none of no image.

    Raises:
        ValueError: An image cannot be read or has a wrong shape, or pixels that are not 0..255, or
            the config's; it is named. Or `augment` or `tile_size` is given batches, `steps` or
            `callbacks`, or both are given.
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: A TIFF is to be read in tiles or as it is stored, and tifffile is not
            installed.
        tf.errors.InvalidArgumentError: A batch of a dataset has pixels that are not 0..255, or
            sizes that are not within it.
    """
    if augment or tile_size is not None:
        if steps is not None or callbacks is not None:
            raise ValueError(
                "augment=True and tile_size have no batches: leave out steps and callbacks."
            )
        if tile_size is None:
            return _predict_augmented(model, x, verbose)
        if augment:
            raise ValueError("augment=True and tile_size exclude each other: give one of them.")
        return _predict_in_tiles(model, x, batch_size, verbose, tile_size, tile_overlap)
    images = _ImageReader(model.config)
    batches = _as_batches(x, images, batch_size)
    if batches is None:  # no image
        return []
    try:
        # Replicas would fail where the last batch has no image for one of them.
        with one_replica(model):
            outputs = keras.Model.predict(
                model, batches, verbose=verbose, steps=steps, callbacks=callbacks
            )
    except tf.errors.OpError:
        if images.error is not None:
            raise images.error from None
        raise
    except UnboundLocalError as error:  # what Keras says of a dataset without a batch
        if "batch_outputs" not in str(error):
            raise
        return []
    return to_detections(outputs, model.config.class_names)


def compile_detector(
    model: keras.Model,
) -> Callable[[Mapping[str, np.ndarray]], list[Detections]]:
    """The model as a function for endless work: traced once, without a pipeline.

    Returns:
        A function from a batch {"images": (B, H, W, channels) float32, "image_sizes": (B, 2)
        int32, "original_sizes": (B, 2) int32} of any size to one `Detections` an image, in the
        pixels of its original size.
    """
    signature = {
        "images": tf.TensorSpec((None, None, None, model.config.channels), tf.float32),
        "image_sizes": tf.TensorSpec((None, 2), tf.int32),
        "original_sizes": tf.TensorSpec((None, 2), tf.int32),
    }
    step = tf.function(model.predict_step, input_signature=[signature])

    def detect(batch):
        outputs = {name: value.numpy() for name, value in step(batch).items()}
        return to_detections(outputs, model.config.class_names)

    return detect


def to_detections(
    outputs: Mapping[str, np.ndarray], class_names: Sequence[str] = ()
) -> list[Detections]:
    """The model's outputs for a batch as one `Detections` an image.

    Args:
        outputs: What the model returns, with `"image_sizes"` (B, 2) of what it was given, and
            `"original_sizes"` (B, 2), to whose pixels the boxes are brought.
        class_names: Names of the classes.
    """
    detections = []
    for i, number in enumerate(outputs["num_detections"]):
        height, width = (int(side) for side in outputs["original_sizes"][i])
        scale = outputs["original_sizes"][i] / outputs["image_sizes"][i]
        boxes = outputs["boxes"][i, :number] * np.tile(scale[::-1], 2).astype(np.float32)
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        kept = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
        masks = outputs["masks"][i, :number][kept] if "masks" in outputs else None
        detections.append(
            Detections(
                boxes=boxes[kept],
                scores=outputs["scores"][i, :number][kept],
                class_ids=outputs["classes"][i, :number][kept],
                box_masks=masks,
                image_size=(height, width),
                class_names=class_names,
            )
        )
    return detections


def _predict_augmented(model, x, verbose):
    detect = AugmentedDetector(model)
    found = []
    for i, image in enumerate(
        track(_as_images(x), "predict", transient=True, disable=verbose == 0)
    ):
        image = _load_image(image, f"image {i}", model.config)
        size = np.array([image.shape[:2]])
        outputs = {**detect(image), "image_sizes": size, "original_sizes": size}
        found += to_detections(outputs, model.config.class_names)
    return found


def _predict_in_tiles(model, x, batch_size, verbose, tile_size, tile_overlap):
    check_tiles(tile_size, tile_overlap)
    find = functools.partial(_find_in_batch, model)
    found = []
    with Progress(transient=True, disable=verbose == 0) as progress:
        for i, image in enumerate(_as_images(x)):
            task = progress.add_task(f"image {i}", total=None)
            with _windows(image, f"image {i}", model.config) as picture:
                detections = find_in_tiles(
                    find,
                    model.config,
                    picture,
                    tile_size,
                    tile_overlap,
                    batch_size,
                    lambda done, total, task=task: progress.update(
                        task, completed=done, total=total
                    ),
                )
            found.append(detections)
            progress.remove_task(task)
    return found


def _find_in_batch(model, images):
    """What is found in images of one shape, without the data set that Keras makes of a call."""
    batch = np.stack([resize_for(model.config, image) for image in images]).astype(np.float32)
    x = {
        "images": tf.constant(batch),
        "image_sizes": tf.constant([batch.shape[1:3]] * len(batch), tf.int32),
        "original_sizes": tf.constant([image.shape[:2] for image in images], tf.int32),
    }
    with one_replica(model):
        model.make_predict_function()
        outputs = model.predict_function([x])
    outputs = {name: value.numpy() for name, value in outputs.items()}
    return to_detections(outputs, model.config.class_names)


def _windows(image, where, config) -> contextlib.AbstractContextManager[WindowedImage]:
    if isinstance(image, str | os.PathLike):
        return open_windows(image, config)
    return contextlib.nullcontext(WholeImage(_load_image(image, where, config)))


def _as_images(x):
    """Paths and arrays (H, W, 3), one after the other."""
    if isinstance(x, tf.data.Dataset) and _holds_images(x):
        return x.as_numpy_iterator()
    if isinstance(x, tf.data.Dataset | Mapping):
        raise ValueError(
            "augment=True and tile_size resize each image themselves: give paths or arrays "
            "(H, W, 3), not batches."
        )
    return _as_list(x)


def _as_list(x):
    is_image = isinstance(x, str | os.PathLike | PIL.Image.Image)
    return [x] if is_image or getattr(x, "ndim", 0) in (2, 3) else list(x)


def _holds_images(dataset):
    spec = dataset.element_spec
    return isinstance(spec, tf.TensorSpec) and spec.shape.rank == 3


def _as_batches(x, images, batch_size):
    if isinstance(x, tf.data.Dataset):
        return _dataset_batches(x, images, batch_size)
    if isinstance(x, Mapping):
        batch = _with_sizes(x, images.config)
        return tf.data.Dataset.from_tensors(batch) if len(batch["images"]) else None
    items = _as_list(x)
    if not items:
        return None
    indices = tf.data.Dataset.range(len(items))
    return _batch(indices.map(images.loader(items), num_parallel_calls=2), batch_size)


def _dataset_batches(dataset, images, batch_size):
    spec = dataset.element_spec
    if isinstance(spec, tuple):  # with targets, as for training
        return dataset.map(lambda x, *_: _with_sizes(x, images.config))
    if isinstance(spec, Mapping):
        return dataset.map(lambda x: _with_sizes(x, images.config))
    if _holds_images(dataset):
        return _batch(dataset.map(images.prepare_tensor, num_parallel_calls=2), batch_size)
    raise ValueError(
        "The dataset must hold batches {'images': ..., 'image_sizes': ...}, alone or with "
        f"targets, or images (H, W, 3); it holds {spec}."
    )


def _with_sizes(x, config):
    """A batch as the model takes it; its own pixels are those of the result."""
    images, sizes = check_batch(x, config)
    return {"images": images, "image_sizes": sizes, "original_sizes": sizes}


def _batch(dataset, batch_size):
    return dataset.padded_batch(batch_size).prefetch(tf.data.AUTOTUNE)


class _ImageReader:
    """Reads and resizes images for a dataset, and keeps the first error that stops it."""

    def __init__(self, config):
        self.config = config
        self.error = None

    def loader(self, items):
        """A function from an index into `items` to an element of a batch."""

        def load(index):
            return self._resized(items[int(index)], f"image {int(index)}")

        return lambda index: self._element(load, index)

    def prepare_tensor(self, image):
        """An image (H, W, 3) of a dataset as an element of a batch."""
        return self._element(lambda pixels: self._resized(np.asarray(pixels), "an image"), image)

    def _element(self, function, value):
        image, original_size = tf.numpy_function(
            function, [value], (tf.float32, tf.int32), stateful=False
        )
        image.set_shape((None, None, self.config.channels))
        original_size.set_shape((2,))
        return {
            "images": image,
            "image_sizes": tf.shape(image)[:2],
            "original_sizes": original_size,
        }

    def _resized(self, image, where):
        try:
            image = _load_image(image, where, self.config)
        except (ValueError, OSError, ImportError) as error:
            self.error = self.error or error
            raise
        resized = resize_for(self.config, image).astype(np.float32)
        return resized, np.array(image.shape[:2], np.int32)


def resize_for(config: MaskRCNNConfig, image: np.ndarray) -> np.ndarray:
    """An image (H, W, C) at the size at which a model of this config looks at it."""
    c = config
    limits = c.image_min_size, c.image_max_size, c.resize_style
    return resize_image(image, resized_shape(*image.shape[:2], *limits), c.resize_style)


def _load_image(image, where, config):
    """The pixels of a path, an array or Pillow's image, checked."""
    if isinstance(image, str | os.PathLike):
        return read_pixels(image, config)
    if isinstance(image, PIL.Image.Image):
        image = _pillow_rgb(image, where) if config.is_rgb else _pillow_pixels(image, where)
    image = np.asarray(image)
    if config.is_rgb and image.dtype == np.uint8 and image.shape[2:] == (3,) and image.size:
        return image
    return as_pixels(image, where, config)


def _pillow_pixels(image, where):
    """As they are."""
    if image.mode not in STORED_MODES and not image.mode.startswith("I;16"):
        raise ValueError(
            f"{where} is of Pillow's mode {image.mode!r}, of which channels are not plain: make "
            "it an array (H, W, channels)."
        )
    return np.asarray(image)


def _pillow_rgb(image, where):
    """As `read_image` gives them of a file: grey is repeated, alpha dropped, 16 bits become 8."""
    if image.mode.startswith("I;16"):
        return np.repeat(np.asarray(image)[..., None] // 256, 3, axis=-1).astype(np.uint8)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"{where} is of Pillow's mode {image.mode!r}, of which the range is unknown: make it "
            "an array (H, W, 3) of RGB 0..255."
        )
    return np.asarray(image.convert("RGB"))
