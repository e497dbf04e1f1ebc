"""What a server calls: from pixels or image files to detections in the pixels that were sent."""

from collections.abc import Callable

import tensorflow as tf

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.export.decoding import decode_images
from keras_maskrcnn.export.pasting import paste_masks
from keras_maskrcnn.ops.boxes import clip_boxes

Outputs = dict[str, tf.Tensor]
IMAGE_SIZES = tf.TensorSpec((None, 2), tf.int32, name="image_sizes")
IMAGE_BYTES = tf.TensorSpec((None,), tf.string, name="image_bytes")


def image_dtype(config: MaskRCNNConfig) -> tf.DType:
    """The type of the pixels that an export takes: the smallest that holds `pixel_range`.

    uint8 or uint16 where that begins at 0 and ends at 255, or at a higher whole number, else
    float32.

    Example:
        >>> image_dtype(MaskRCNNConfig(channels=4, pixel_range=[0, 4095])).name
        'uint16'
    """
    low, high = config.pixel_range
    if low != 0 or high < 255 or high > 65535:
        return tf.float32
    return tf.uint8 if high == 255 else tf.uint16


def make_endpoints(
    detect: Callable[[tf.Tensor, tf.Tensor], Outputs], config: MaskRCNNConfig, pasted_masks: bool
) -> dict[str, Callable[..., Outputs]]:
    """The functions that become the signatures of a SavedModel, by name.

    Args:
        detect: From `images` (B, H, W, channels) float32 and `image_sizes` (B, 2) int32 to what a
            `MaskRCNN` returns for them.
        config: What images are, and how image files are resized. Unless they are RGB 0..255, there
            is no function of image files.
        pasted_masks: Whether to return `pasted_masks` too, (B, D, H, W) uint8.
    """
    images_spec = tf.TensorSpec(
        (None, None, None, config.channels), image_dtype(config), name="images"
    )

    def detect_and_paste(images, image_sizes):
        with tf.control_dependencies(_checks(images, image_sizes)):
            images = tf.cast(images, tf.float32)
        outputs = detect(images, image_sizes)
        return paste(outputs, tf.shape(images)[1:3])

    def paste(outputs, size):
        if not pasted_masks:
            return outputs
        pasted = paste_masks(outputs["masks"], outputs["boxes"], size[0], size[1])
        return {**outputs, "pasted_masks": pasted}

    @tf.function(input_signature=[images_spec], autograph=False)
    def serving_default(images):
        batch, height, width, _ = tf.unstack(tf.shape(images))
        return detect_and_paste(images, tf.tile([[height, width]], [batch, 1]))

    @tf.function(input_signature=[images_spec, IMAGE_SIZES], autograph=False)
    def serve_sizes(images, image_sizes):
        return detect_and_paste(images, image_sizes)

    @tf.function(input_signature=[IMAGE_BYTES], autograph=False)
    def serve_bytes(image_bytes):
        decoded = decode_images(image_bytes, config)
        outputs = detect(decoded["images"], decoded["image_sizes"])
        original_sizes = decoded["original_sizes"]
        outputs = to_original_pixels(outputs, decoded["image_sizes"], original_sizes)
        return paste(outputs, tf.reduce_max(original_sizes, axis=0))

    functions = [serving_default, serve_sizes]
    if config.is_rgb:  # TensorFlow has no operation that reads others
        functions.append(serve_bytes)
    return {function.__name__: function for function in functions}


def to_original_pixels(
    outputs: Outputs, image_sizes: tf.Tensor, original_sizes: tf.Tensor
) -> Outputs:
    """Detections in the pixels of the images before they were resized, as `predict` gives them.

    Those of which a side vanishes are left out.

    Args:
        outputs: What a `MaskRCNN` returns.
        image_sizes: (B, 2) int32 height and width of the resized images.
        original_sizes: (B, 2) int32 height and width before.
    """
    scale = tf.cast(original_sizes / image_sizes, tf.float32)
    boxes = outputs["boxes"] * tf.gather(scale, [1, 0, 1, 0], axis=1)[:, None]
    boxes = clip_boxes(boxes, original_sizes)
    kept = tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1) & (outputs["classes"] >= 0)
    order = tf.argsort(tf.where(kept, 0, 1), axis=1, stable=True)
    number = tf.reduce_sum(tf.cast(kept, tf.int32), axis=1)
    kept = tf.gather(kept, order, batch_dims=1)
    fillers = {"boxes": 0.0, "scores": 0.0, "classes": -1, "masks": 0.0}
    mapped = {"num_detections": number}
    for name, value in {**outputs, "boxes": boxes}.items():
        if name in fillers:
            value = tf.gather(value, order, batch_dims=1)
            there = tf.reshape(kept, [*tf.unstack(tf.shape(kept)), *[1] * (value.shape.rank - 2)])
            mapped[name] = tf.where(there, value, fillers[name])
    return mapped


def _checks(images, image_sizes):
    """A server answers InvalidArgument where the request is wrong, and stays up."""
    shape = tf.shape(images)
    rows = tf.shape(image_sizes)[:1]
    inside = (image_sizes >= 1) & (image_sizes <= shape[1:3])
    return [
        tf.debugging.Assert(
            tf.reduce_all(shape > 0), ["images must have a batch, height and width above 0:", shape]
        ),
        tf.debugging.Assert(
            tf.reduce_all(rows == shape[:1]),
            ["image_sizes must have a row for each of the images; rows, images:", rows, shape[:1]],
        ),
        tf.debugging.Assert(
            tf.reduce_all(inside),
            ["image_sizes must be heights and widths from 1 to those of images:", image_sizes],
        ),
    ]
