"""Image files within a graph: decoded, turned upright and resized by stock operations."""

import tensorflow as tf

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.export.headers import bits_per_pixel, exif_orientation, has_pixels, is_cut_off

FLAT_PIXELS = tf.RaggedTensorSpec((None,), tf.uint8, ragged_rank=0)
PIXELS = tf.TensorSpec((None, None, 3), tf.uint8)
SIZE = tf.TensorSpec((2,), tf.int32)
JPEG = b"\xff\xd8"


def decode_images(data: tf.Tensor, config: MaskRCNNConfig) -> dict[str, tf.Tensor]:
    """A batch for the model from image files, as `predict` makes it from the same files.

    JPEG, PNG, GIF (its first picture) and BMP of 24 bits are read. They are turned as their EXIF
    orientation says; grey is repeated over the channels, alpha is dropped, 16 bits become 8.
    Pixels are whole numbers, as those that `predict` reads.

    Args:
        data: (B,) string, the bytes of the files.
        config: Its `image_min_size`, `image_max_size` and `resize_style` say how to resize.

    Returns:
        `images` (B, H, W, 3) float32 RGB 0..255, 0 right of and below the smaller ones,
        `image_sizes` (B, 2) int32 height and width of each, and `original_sizes` (B, 2) int32,
        those of the upright picture before it was resized.

    Raises:
        tf.errors.InvalidArgumentError: There is no file in the batch, or one is empty, no picture,
            without pixels or cut off, and is named by its index. What only the decoder finds, say
            a damaged PNG, it tells without the index.

    Example:
        >>> files = tf.stack([tf.io.read_file("photo.jpg")])
        >>> decode_images(files, MaskRCNNConfig())["images"].shape
        TensorShape([1, 800, 1067, 3])
    """
    count = tf.size(data)
    with tf.control_dependencies(
        [_check(count > 0, "The batch is empty: send one image or more.")]
    ):
        indices = tf.range(count)
    pixels, image_sizes, original_sizes = tf.map_fn(
        lambda element: _prepare(*element, config),
        (indices, data),
        fn_output_signature=(FLAT_PIXELS, SIZE, SIZE),
    )
    largest = tf.reduce_max(image_sizes, axis=0)
    images = tf.map_fn(
        lambda element: _pad(*element, largest),
        (pixels, image_sizes),
        fn_output_signature=PIXELS,
    )
    return {
        "images": tf.cast(images, tf.float32),
        "image_sizes": image_sizes,
        "original_sizes": original_sizes,
    }


def _prepare(index, file, config):
    """The flat pixels of a picture, its size, and its size before it was resized."""
    with tf.control_dependencies([_check_not_empty(index, file)]):
        data = tf.io.decode_raw(file, tf.uint8)
    with tf.control_dependencies(_checks(index, file, data)):
        stored = _decode(tf.identity(file))
    image = _turn_upright(stored, exif_orientation(data))
    original_size = tf.shape(image)[:2]
    image = _resize(image, _resized_size(original_size, config), config.resize_style)
    return tf.reshape(image, [-1]), tf.shape(image)[:2], original_size


def _pad(flat_pixels, size, largest):
    height, width = tf.unstack(largest - size)
    image = tf.reshape(flat_pixels, tf.concat([size, [3]], axis=0))
    return tf.pad(image, [[0, height], [0, width], [0, 0]])


def _check_not_empty(index, file):
    message = "image {} of the batch (the first is 0) is empty: send the bytes of the file."
    return _check(tf.strings.length(file) > 0, tf.strings.format(message, index))


def _checks(index, file, data):
    """What the decoders would let pass, or would refuse without the index of the file."""
    is_jpeg, is_png = _starts_with(file, JPEG), _starts_with(file, b"\x89PNG")
    is_bmp, is_gif = _starts_with(file, b"BM"), _starts_with(file, b"GIF8")
    is_deep, is_whole = ~is_bmp | (bits_per_pixel(data) >= 24), ~is_cut_off(data)
    where = "image {} of the batch (the first is 0) "
    problems = [
        (is_jpeg | is_png | is_bmp | is_gif, "is no JPEG, PNG, GIF or BMP file: convert it."),
        (~is_jpeg | is_whole, "is a JPEG that is cut off: send all of it."),
        (~is_png | is_whole, "is a PNG that is cut off: send all of it."),
        (has_pixels(data), "has no width or no height: send a picture with pixels."),
        (is_deep, "is a BMP of less than 24 bits a pixel: convert it to PNG."),
    ]
    checks = []
    for is_right, problem in problems:  # one after the other: the first that fails is told
        with tf.control_dependencies(checks):
            checks.append(_check(is_right, tf.strings.format(where + problem, index)))
    return checks


def _check(is_right, message):
    return tf.debugging.Assert(is_right, [message])


def _starts_with(file, signature):
    return tf.strings.substr(file, 0, len(signature)) == signature


def _decode(file):
    """Stored pixels (H, W, 3) uint8; a JPEG as libjpeg and OpenCV decode it, not the fast way."""
    image = tf.cond(
        _starts_with(file, JPEG),
        lambda: tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(file, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(image, (None, None, 3))


def _turn_upright(stored, orientation):
    """As `keras_maskrcnn.data.images.turn_upright`."""

    def is_one_of(*choices):
        return tf.reduce_any(orientation == tf.constant(choices, tf.int64))

    def turned():
        image = tf.cond(orientation >= 5, lambda: tf.transpose(stored, (1, 0, 2)), lambda: stored)
        mirrored = tf.stack([is_one_of(3, 4, 7, 8), is_one_of(2, 3, 6, 7)])
        return tf.reverse(image, tf.boolean_mask([0, 1], mirrored))

    return tf.cond(orientation > 1, turned, lambda: stored)


def _resized_size(size, config):
    """As `keras_maskrcnn.data.images.resized_shape`, in the same double precision."""
    sides = tf.cast(size, tf.float64)
    longest = tf.reduce_max(sides)
    scale = config.image_min_size / tf.reduce_min(sides)
    scale = tf.where(
        scale * longest > config.image_max_size, config.image_max_size / longest, scale
    )
    half = 0.0 if config.resize_style == "torchvision" else 0.5
    return tf.maximum(tf.cast(sides * scale + half, tf.int32), 1)


def _resize(image, size, style):
    """As `keras_maskrcnn.data.images.resize_image`, rounded as there, (H, W, 3) uint8."""

    def resized(method):
        pixels = tf.image.resize(image, size, method=method)
        return tf.cast(tf.round(tf.clip_by_value(pixels, 0, 255)), tf.uint8)

    if style == "torchvision":
        return resized("bilinear")
    shrinks = size[0] < tf.shape(image)[0]
    return tf.cond(shrinks, lambda: resized("area"), lambda: resized("bilinear"))
