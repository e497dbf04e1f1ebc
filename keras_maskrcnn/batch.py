"""The batch that goes into the model: its checks, and its pixels made ready for the backbone."""

from collections.abc import Mapping, Sequence

import tensorflow as tf


def check_inputs(x) -> tuple[tf.Tensor, tf.Tensor]:
    """The images (B, H, W, 3) and their sizes (B, 2) int32 of a batch.

    Args:
        x: `{"images": ..., "image_sizes": ...}`, or the images alone, which are then all valid.

    Raises:
        ValueError: Images missing or of a wrong shape, or pixels that are no numbers.
    """
    if not isinstance(x, Mapping):
        x = {"images": x}
    if "images" not in x:
        raise ValueError(f"The batch has no 'images'; it has {sorted(x)}.")
    images = tf.convert_to_tensor(x["images"])
    if images.shape.rank != 4 or images.shape[-1] not in (3, None):
        raise ValueError(f"images must be (B, H, W, 3), RGB 0..255; got shape {images.shape}.")
    if images.dtype.is_complex or images.dtype in (tf.string, tf.bool):
        raise ValueError(f"images must be numbers 0..255; got {images.dtype.name}.")
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
    y: Mapping[str, tf.Tensor], mask: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """The ground truth of a batch: boxes (B, N, 4), classes (B, N) int32, masks (B, N, M, M).

    Args:
        y: `{"boxes": ..., "classes": ..., "masks": ...}`; images without an object have one row of
            class -1 too.
        mask: Whether there is a mask branch; without it the masks are None.

    Raises:
        ValueError: A part is missing or of a wrong shape, or the parts do not fit each other.
    """
    shapes = {"boxes": (None, None, 4), "classes": (None, None), "masks": (None,) * 4}
    described = {"boxes": "(B, N, 4)", "classes": "(B, N)", "masks": "(B, N, M, M)"}
    parts = {}
    for name in shapes if mask else ("boxes", "classes"):
        if not isinstance(y, Mapping) or name not in y:
            raise ValueError(f"The targets have no {name!r} {described[name]}.")
        parts[name] = part = tf.convert_to_tensor(y[name])
        if not part.shape.is_compatible_with(shapes[name]):
            raise ValueError(f"{name} must be {described[name]}; got shape {part.shape}.")
        if not part.shape[:2].is_compatible_with(parts["boxes"].shape[:2]):
            raise ValueError(
                f"boxes and {name} must have the same B and N; "
                f"got shapes {parts['boxes'].shape} and {part.shape}."
            )
    if parts["boxes"].shape[1] == 0:
        raise ValueError("The targets have no row; an image without an object has one of class -1.")
    boxes, classes = tf.cast(parts["boxes"], tf.float32), tf.cast(parts["classes"], tf.int32)
    return boxes, classes, parts.get("masks")


def normalize_and_pad(
    images: tf.Tensor,
    image_sizes: tf.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    size_divisor: int,
) -> tf.Tensor:
    """(images - mean) / std, 0 outside the valid part, padded right and below.

    Args:
        images: (B, H, W, 3) float32 RGB 0..255.
        image_sizes: (B, 2) int32 height and width of the valid part.
        mean: Of the pixels, RGB.
        std: Of the pixels, RGB.
        size_divisor: Height and width become multiples of this.
    """
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    rows = tf.range(height) < image_sizes[:, :1]
    columns = tf.range(width) < image_sizes[:, 1:]
    valid = (rows[:, :, None] & columns[:, None, :])[..., None]
    normalized = tf.where(valid, (images - tf.constant(mean)) / tf.constant(std), 0.0)
    padding = [[0, 0], [0, -height % size_divisor], [0, -width % size_divisor], [0, 0]]
    return tf.pad(normalized, padding)
