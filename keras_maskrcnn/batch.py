"""The batch that goes into the model: its checks, and its pixels made ready for the backbone."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from keras_maskrcnn.config import MaskRCNNConfig

RGB = MaskRCNNConfig()


def describe_pixels(config: MaskRCNNConfig) -> str:
    """What pixels are, for errors: `"RGB 0..255"`, `"4 channels, 0..65535"`."""
    low, high = config.pixel_range
    number = config.channels
    channels = "RGB " if number == 3 else f"{number} channel{'s' * (number != 1)}, "
    return f"{channels}{low:g}..{high:g}"


def check_inputs(x, config: MaskRCNNConfig = RGB) -> tuple[tf.Tensor, tf.Tensor]:
    """The images (B, H, W, channels) and their sizes (B, 2) int32 of a batch.

    Args:
        x: `{"images": ..., "image_sizes": ...}`, or the images alone, which are then all valid.
        config: Of the model.

    Raises:
        ValueError: Images missing or of a wrong shape, or pixels that are no numbers.
    """
    if not isinstance(x, Mapping):
        x = {"images": x}
    if "images" not in x:
        raise ValueError(f"The batch has no 'images'; it has {sorted(x)}.")
    images = tf.convert_to_tensor(x["images"])
    if images.shape.rank != 4 or images.shape[-1] not in (config.channels, None):
        raise ValueError(
            f"images must be (B, H, W, {config.channels}), {describe_pixels(config)}; got shape "
            f"{images.shape}."
        )
    if images.dtype.is_complex or images.dtype in (tf.string, tf.bool):
        low, high = config.pixel_range
        raise ValueError(f"images must be numbers {low:g}..{high:g}; got {images.dtype.name}.")
    images = tf.cast(images, tf.float32)
    if tf.executing_eagerly() and not tf.reduce_all(tf.math.is_finite(images)):
        bad = tf.where(~tf.math.is_finite(images))[0].numpy().tolist()
        raise ValueError(f"images has a pixel that is NaN or infinite, the first at {bad}.")
    sizes = x.get("image_sizes")
    if sizes is None:
        sizes = tf.tile(tf.shape(images)[None, 1:3], [tf.shape(images)[0], 1])
    sizes = tf.cast(tf.convert_to_tensor(sizes), tf.int32)
    if sizes.shape.rank != 2 or sizes.shape[-1] not in (2, None):
        raise ValueError(f"image_sizes must be (B, 2): height, width; got shape {sizes.shape}.")
    if not images.shape[:1].is_compatible_with(sizes.shape[:1]):
        raise ValueError(f"image_sizes has {sizes.shape[0]} rows for {images.shape[0]} images.")
    return images, sizes


def check_targets(
    y: Mapping[str, tf.Tensor], mask_size: int | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """The ground truth of a batch: boxes (B, N, 4), classes (B, N) int32, masks (B, N, M, M).

    Args:
        y: `{"boxes": ..., "classes": ..., "masks": ...}`; images without an object have one row of
            class -1 too.
        mask_size: M, `gt_mask_size` of the config; None without a mask branch, and then there are
            no masks.

    Raises:
        ValueError: A part is missing or of a wrong shape, or the parts do not fit each other.
    """
    shapes = {"boxes": (None, None, 4), "classes": (None, None)}
    described = {"boxes": "(B, N, 4)", "classes": "(B, N)"}
    if mask_size is not None:
        shapes["masks"] = (None, None, mask_size, mask_size)
        described["masks"] = f"(B, N, {mask_size}, {mask_size}), each cut out in its box"
    parts = {}
    for name in shapes:
        if not isinstance(y, Mapping) or name not in y:
            raise ValueError(f"The targets have no {name!r} {described[name]}.")
        parts[name] = part = tf.convert_to_tensor(y[name])
        if not part.shape.is_compatible_with(shapes[name]):
            advice = _cut_out(mask_size) if name == "masks" else ""
            raise ValueError(f"{name} must be {described[name]}; got shape {part.shape}.{advice}")
        if not part.shape[:2].is_compatible_with(parts["boxes"].shape[:2]):
            raise ValueError(
                f"boxes and {name} must have the same B and N; "
                f"got shapes {parts['boxes'].shape} and {part.shape}."
            )
    if parts["boxes"].shape[1] == 0:
        raise ValueError("The targets have no row; an image without an object has one of class -1.")
    boxes, classes = tf.cast(parts["boxes"], tf.float32), tf.cast(parts["classes"], tf.int32)
    return boxes, classes, parts.get("masks")


def _cut_out(mask_size):
    return f" Of full-size masks, km.data.crop_masks(masks, boxes, size={mask_size}) makes them."


def check_training_batch(
    x, y: Mapping[str, tf.Tensor], config: MaskRCNNConfig
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """Images, their sizes, boxes, classes and masks of a batch, of which the values are right too.

    Left to themselves, wrong values train: a class that does not exist is an error on a CPU and
    the class 0 on a GPU, and a box that is turned inside out matches nothing.

    Args:
        x: As for `check_inputs`.
        y: As for `check_targets`.
        config: Of the model.

    Raises:
        ValueError: What `check_inputs` and `check_targets` find. Or, where values are known only
            when a step runs an InvalidArgumentError: pixels, sizes, boxes, classes or masks that
            cannot be meant; the first is named by its image and row.
    """
    images, image_sizes = check_batch(x, config)
    boxes, classes, masks = check_targets(y, config.gt_mask_size if config.mask else None)
    checks = _object_checks(boxes, classes, image_sizes, config.num_classes)
    if masks is not None:
        checks += _mask_checks(masks, config.gt_mask_size)
    with tf.control_dependencies(checks):
        masks = None if masks is None else tf.identity(masks)
        return images, image_sizes, tf.identity(boxes), tf.identity(classes), masks


def check_batch(x, config: MaskRCNNConfig = RGB) -> tuple[tf.Tensor, tf.Tensor]:
    """As `check_inputs`, of which the values are right too, also those of a graph.

    Raises:
        ValueError, or an InvalidArgumentError when the graph runs: Pixels that are not within
            `pixel_range`, or sizes that are not within the images.
    """
    images, sizes = check_inputs(x, config)
    given = tf.convert_to_tensor(x["images"] if isinstance(x, Mapping) else x)
    low, high = config.pixel_range
    if not low <= 0 <= high:  # then padding is no pixel that could be
        given = tf.where(_valid_part(images, sizes), given, tf.cast(low, given.dtype))
    with tf.control_dependencies([check_pixels(given, "images", config)]):
        images, largest = tf.identity(images), tf.shape(images)[1:3]
    message = "image_sizes must be heights and widths from 1 to those of images, {}; got {}."
    is_within = tf.reduce_all((sizes >= 1) & (sizes <= largest))
    with tf.control_dependencies([check(is_within, message, largest, sizes)]):
        return images, tf.identity(sizes)


def check_pixels(images: tf.Tensor, where: str, config: MaskRCNNConfig = RGB) -> tf.Tensor:
    """Pixels of any number type as float32, if they can be of the range of the config's.

    Brightness and sharpening may carry floats beyond that range, but not by more than its width.

    Args:
        images: Pixels, of any shape.
        where: What errors call them.
        config: Of the model.

    Raises:
        ValueError, or an InvalidArgumentError when the graph runs: They are not finite, or beyond
            `pixel_range`, or, of RGB 0..255, scaled to 0..1 or normalised.
    """
    low, high = config.pixel_range
    beyond = 0 if images.dtype.is_integer else high - low
    pixels = tf.cast(images, tf.float32)
    lowest, highest = tf.reduce_min(pixels), tf.reduce_max(pixels)
    has_fractions = tf.reduce_any(pixels != tf.floor(pixels))
    is_scaled = has_fractions & ((highest <= 1) | ((lowest < 0) & (highest < 4)))
    is_beyond = (lowest < low - beyond) | (highest > high + beyond)
    if not config.is_rgb:  # of which small fractions can be dark pixels, resized
        is_scaled = tf.constant(False)
    infinite = tf.where(~tf.math.is_finite(pixels))[:1]
    checks = [
        check(
            tf.size(infinite) == 0,
            f"{where} has a pixel that is NaN or infinite, the first at {{}}.",
            infinite,
        ),
        check(
            ~(is_scaled | is_beyond),
            f"{where} must be {describe_pixels(config)}; got {_of_type(images, config)}pixels from "
            f"{{}} to {{}}. {_advice(config)}",
            lowest,
            highest,
        ),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(pixels)


def _of_type(images, config):
    return "" if config.is_rgb else f"{images.dtype.name} "


def _advice(config):
    if config.is_rgb:
        return (
            "Multiply pixels of 0..1 by 255, divide those of 16 bits by 257, and leave it to the "
            "model to subtract a mean."
        )
    return (
        "pixel_range of the config must be the lowest and the highest value that pixels can have, "
        "as they are stored; leave it to the model to scale them."
    )


def check(is_right: tf.Tensor, message: str, *values: tf.Tensor) -> tf.Operation | None:
    """Raises a ValueError now, or returns the operation of a graph that will check.

    Args:
        is_right: Scalar bool.
        message: The error's, with {} for each of the values.
        values: What was wrong.
    """
    if tf.executing_eagerly():
        if not is_right:
            raise ValueError(message.format(*(value.numpy().tolist() for value in values)))
        return None
    return tf.debugging.Assert(is_right, [tf.strings.format(message, values)])


def _object_checks(boxes, classes, image_sizes, num_classes):
    is_object = classes >= 0
    low, high = boxes[..., :2], boxes[..., 2:]
    is_box = tf.reduce_all(tf.math.is_finite(boxes), -1) & tf.reduce_all(low < high, -1)
    width_height = tf.cast(image_sizes, tf.float32)[:, None, ::-1]
    is_inside = tf.reduce_all((low < width_height) & (high > 0), axis=-1)
    return [
        _check_rows(
            (classes >= -1) & (classes < num_classes),
            f"classes must be 0 to {num_classes - 1} (num_classes={num_classes}), or -1 where "
            "padded; got {} at [image, row] {}. Subtract 1 from ids that count from 1.",
            classes,
        ),
        _check_rows(
            is_box | ~is_object,
            "boxes must be x0, y0, x1, y1 with x0 < x1 and y0 < y1; got {} at [image, row] {}. "
            "Rows without an object have class -1.",
            boxes,
        ),
        _check_rows(
            is_inside | ~is_object,
            "boxes must lie in their image, in the pixels in which it stands in images; got {} at "
            "[image, row] {}.",
            boxes,
        ),
        check(
            tf.reduce_any(is_object[..., None] & (high > 1)) | ~tf.reduce_any(is_object),
            "boxes must be in pixels; all of this batch lie between 0 and 1. Multiply shares of "
            "the image by its width and height.",
        ),
    ]


def _mask_checks(masks, mask_size):
    size = tf.shape(masks)[2:]
    message = f"masks must be (B, N, {mask_size}, {mask_size}); got {{}} at the end of the shape."
    highest = tf.reduce_max(tf.cast(masks, tf.float32))
    return [
        check(tf.reduce_all(size == mask_size), message + _cut_out(mask_size), size),
        check(highest <= 1, "masks must be 0 or 1; got {}. Divide masks of 255 by 255.", highest),
    ]


def _check_rows(are_right, message, values):
    """Of (B, N): the first that is wrong is told, and where it stands."""
    where = tf.where(~are_right)[:1]
    return check(tf.reduce_all(are_right), message, tf.gather_nd(values, where), where)


def stem_pixels(images: tf.Tensor, config: MaskRCNNConfig) -> tf.Tensor:
    """Pixels of the channels that the backbone begins with, on the scale of `pixel_mean`.

    Args:
        images: (B, H, W, channels) float32, within `pixel_range`.
        config: Of the model.

    Returns:
        (B, H, W, stem_channels) float32 0..255; one channel or two are repeated.
    """
    low, high = config.pixel_range
    if (low, high) != RGB.pixel_range:
        images = (images - low) * (255 / (high - low))
    if config.channels < config.stem_channels:
        chosen = [i % config.channels for i in range(config.stem_channels)]
        images = tf.gather(images, chosen, axis=-1)
    return images


def of_stem_channels(values: Sequence[float], config: MaskRCNNConfig) -> list[float]:
    """`pixel_mean` or `pixel_std` for each channel that the backbone begins with.

    Example:
        >>> of_stem_channels((1.0, 2.0, 3.0), MaskRCNNConfig(channels=4))
        [1.0, 2.0, 3.0, 1.0]
    """
    return [values[i % len(values)] for i in range(config.stem_channels)]


def normalize_and_pad(
    images: tf.Tensor,
    image_sizes: tf.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    size_divisor: int,
) -> tf.Tensor:
    """(images - mean) / std, 0 outside the valid part, padded right and below.

    Args:
        images: (B, H, W, C) float32.
        image_sizes: (B, 2) int32 height and width of the valid part.
        mean: Of the pixels, C values.
        std: Of the pixels, C values.
        size_divisor: Height and width become multiples of this.
    """
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    valid = _valid_part(images, image_sizes)
    normalized = tf.where(valid, (images - tf.constant(mean)) / tf.constant(std), 0.0)
    padding = [[0, 0], [0, -height % size_divisor], [0, -width % size_divisor], [0, 0]]
    return tf.pad(normalized, padding)


def backbone_pixels(images: tf.Tensor, image_sizes: tf.Tensor, config: MaskRCNNConfig) -> tf.Tensor:
    """A batch as the backbone takes it: scaled to 0..255, normalised, and padded.

    Args:
        images: (B, H, W, channels) float32, within `pixel_range`.
        image_sizes: (B, 2) int32 height and width of the valid part.
        config: Of the model.

    Returns:
        (B, h, w, stem_channels) float32, 0 outside the valid part; the sides are multiples of
        `size_divisor`.
    """
    mean, std = (of_stem_channels(v, config) for v in (config.pixel_mean, config.pixel_std))
    pixels = stem_pixels(images, config)
    return normalize_and_pad(pixels, image_sizes, mean, std, config.size_divisor)


def _valid_part(images, image_sizes):
    """(B, H, W, 1) bool: where a pixel of a batch is one of its image, not of padding."""
    rows = tf.range(tf.shape(images)[1]) < image_sizes[:, :1]
    columns = tf.range(tf.shape(images)[2]) < image_sizes[:, 1:]
    return (rows[:, :, None] & columns[:, None, :])[..., None]
