"""Images as they are stored: any number of channels, of 8 bits, 16 bits or floats."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_maskrcnn.batch import RGB, check_pixels, describe_pixels
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.arrays import decode_array, is_array_file
from keras_maskrcnn.data.images import (
    decode_image,
    decode_unchanged,
    is_grey_or_rgb,
    read_bytes,
    turn_upright,
)


def read_pixels(path: str | os.PathLike, config: MaskRCNNConfig) -> np.ndarray:
    """The pixels of an image file for a model of this config.

    Of RGB 0..255, (H, W, 3) uint8, as `read_image` gives them. Else as they are stored, (H, W,
    channels) float32: TIFF, `.npy` (H, W, channels) or (H, W), and what OpenCV reads, of which
    PNGs may have 16 bits and alpha as a fourth channel.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, has other channels, or pixels beyond `pixel_range`.
        ModuleNotFoundError: It is a TIFF to be read as stored, and tifffile is not installed.

    Example:
        >>> config = MaskRCNNConfig(channels=4, pixel_range=[0, 65535])
        >>> np.save("field.npy", np.full((48, 64, 4), 1000, np.uint16))
        >>> read_pixels("field.npy", config).shape
        (48, 64, 4)
    """
    return decode_pixels(read_bytes(path), os.fspath(path), config)


def decode_pixels(data: bytes, where: str, config: MaskRCNNConfig) -> np.ndarray:
    """The pixels in the bytes of an image file, as `read_pixels` gives them.

    Raises:
        ValueError, ModuleNotFoundError: As of `read_pixels`.
    """
    if config.is_rgb:
        return decode_image(data, where)
    return as_pixels(decode_stored(data, where), where, config)


def as_pixels(image: np.ndarray, where: str, config: MaskRCNNConfig) -> np.ndarray:
    """An image (H, W, channels) of any number type, checked, as float32.

    Raises:
        ValueError: It has another shape, or pixels that the config's cannot be: beyond
            `pixel_range`, or 8 bits or 0..1 where that reaches further.
    """
    if image.ndim == 2 and config.channels == 1:
        image = image[..., None]
    pixels = as_part(image, where, config)
    low, high = config.pixel_range
    is_within_one = low >= 0 and high >= 255 and pixels.max() <= 1
    if is_within_one and (pixels != np.floor(pixels)).any():
        raise ValueError(_of_another_range(image, where, config))
    return pixels


def as_part(image: np.ndarray, where: str, config: MaskRCNNConfig) -> np.ndarray:
    """As `as_pixels` of a part of an image, which may be all dark.

    Raises:
        ValueError: It has another shape, or pixels beyond `pixel_range`.
    """
    wanted = describe_pixels(config)
    if image.ndim != 3 or image.shape[-1] != config.channels or 0 in image.shape:
        raise ValueError(
            f"{where} must be (H, W, {config.channels}), {wanted}; got shape {image.shape} "
            f"{image.dtype}."
        )
    if not np.issubdtype(image.dtype, np.number) or np.iscomplexobj(image):
        raise ValueError(f"{where} must hold numbers {wanted}; got {image.dtype}.")
    if image.dtype == np.uint8 and config.pixel_range[1] > 255:
        raise ValueError(_of_another_range(image, where, config))
    return check_pixels(tf.convert_to_tensor(image), where, config).numpy()


def _of_another_range(image, where, config):
    return (
        f"{where} must be {describe_pixels(config)}; got {image.dtype} pixels from "
        f"{image.min():g} to {image.max():g}. All images must be stored alike: convert this one, "
        "or give the config the pixel_range that they have."
    )


def decode_stored(data: bytes, where: str) -> np.ndarray:
    """The picture in the bytes of an image file as it is stored, (H, W, C), but turned upright.

    Raises:
        ValueError: It cannot be read.
        ModuleNotFoundError: It is a TIFF, and tifffile is not installed.
    """
    if not is_array_file(data):
        return decode_unchanged(data, where)
    pixels, orientation = decode_array(data, where)
    return np.ascontiguousarray(turn_upright(pixels, orientation))


def decode_to_show(data: bytes, where: str, config: MaskRCNNConfig = RGB) -> np.ndarray:
    """A picture (H, W, 3) uint8 RGB of the bytes of any image file, for people to look at.

    What is no grey or RGB of 8 or 16 bits is shown by its first three channels, and so is all that
    a model of another config takes, in its `pixel_range`; see `display`.

    Raises:
        ValueError: It cannot be read.
        ModuleNotFoundError: It is a TIFF that only tifffile reads, which is not installed.
    """
    if not config.is_rgb:
        return display(decode_pixels(data, where, config), config.pixel_range)
    if is_grey_or_rgb(data):
        return decode_image(data, where)
    stored = decode_stored(data, where)
    return display(stored, _extent(stored))


def read_to_show(
    path: str | os.PathLike,
    pixel_range: Sequence[float] | None = None,
    channels: Sequence[int] = (0, 1, 2),
) -> np.ndarray:
    """As `decode_to_show`, of a file; with a `pixel_range` or other channels, as `display`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError, ModuleNotFoundError: As of `decode_to_show`.
    """
    data, where = read_bytes(path), os.fspath(path)
    if pixel_range is None and tuple(channels) == (0, 1, 2):
        return decode_to_show(data, where)
    return display(decode_stored(data, where), pixel_range, channels)


def display(
    image: np.ndarray,
    pixel_range: Sequence[float] | None = None,
    channels: Sequence[int] = (0, 1, 2),
) -> np.ndarray:
    """A picture (H, W, 3) uint8 RGB of an image of any channels, for people to look at.

    Args:
        image: (H, W, C).
        pixel_range: What becomes black and what white. By default 0 and 255 of three channels and
            of 8 bits, else the lowest and the highest pixel.
        channels: Which channels are shown as red, green and blue, from 0. Of one or two, a number
            beyond them stands for the channel of its remainder.

    Raises:
        ValueError: There is no such channel, or `image` is no (H, W, C).

    Example:
        >>> near_infrared = display(np.zeros((48, 64, 4), np.uint16), (0, 4095), (3, 0, 1))
        >>> near_infrared.shape
        (48, 64, 3)
    """
    image = np.asarray(image)
    if image.ndim != 3 or not image.size:
        raise ValueError(f"The image must be (H, W, channels); got {image.shape}.")
    count = image.shape[-1]
    chosen = [i % count if count < 3 else i for i in channels]
    if len(chosen) != 3 or not all(0 <= i < count for i in chosen):
        raise ValueError(
            f"channels must be three of 0 to {count - 1}, shown as red, green and blue; got "
            f"{list(channels)}."
        )
    low, high = pixel_range or ((0, 255) if count == 3 else _extent(image))
    shown = image[..., chosen]
    if shown.dtype == np.uint8 and (low, high) == (0, 255):
        return shown
    scaled = (shown.astype(np.float64) - low) * (255 / (high - low) if high > low else 0)
    return np.clip(np.nan_to_num(scaled), 0, 255).astype(np.uint8)


def _extent(image):
    """Of 8 bits all that there can be, else the lowest and the highest pixel that is a number."""
    if image.dtype == np.uint8:
        return 0, 255
    finite = image[np.isfinite(image)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0, 255)
