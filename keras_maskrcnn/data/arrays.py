"""Files that hold any number of channels: TIFF and NumPy's `.npy`, read as they are stored."""

import contextlib
import functools
import io
import os
from typing import BinaryIO

import numpy as np
import PIL.ExifTags

NPY = b"\x93NUMPY"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF


def is_array_file(data: bytes) -> bool:
    """Whether a file that begins with these bytes is a TIFF or a `.npy`."""
    return data.startswith((NPY, *TIFF))


def decode_array(data: bytes, where: str) -> tuple[np.ndarray, int]:
    """The pixels (H, W, C) in the bytes of a TIFF or `.npy`, and their EXIF orientation, 1 to 8.

    An array (H, W) has one channel. The channels of a TIFF lie beside each other, in planes or in
    pages; of a pyramid the largest level is read.

    Args:
        data: What is in the file.
        where: What errors call it.

    Raises:
        ValueError: It is broken, holds Python objects, or is no image.
        ModuleNotFoundError: It is a TIFF, and tifffile is not installed.
    """
    if data.startswith(NPY):
        load = functools.partial(np.load, io.BytesIO(data), allow_pickle=False)
        return _load_npy(load, where), 1
    with _open_tiff(io.BytesIO(data), where) as tiff:
        series = tiff.series[0]
        channels = _channel_axis(series, where)
        pixels = series.asarray()
        pixels = pixels[..., None] if channels is None else np.moveaxis(pixels, channels, -1)
        return pixels, _orientation(tiff)


def open_npy(path: str | os.PathLike) -> np.ndarray:
    """The pixels (H, W, C) of a `.npy` file, of which only what is looked at is read.

    Raises:
        ValueError: As of `decode_array`.
    """
    return _load_npy(functools.partial(np.lib.format.open_memmap, path, "r"), os.fspath(path))


def array_size(file: BinaryIO, where: str) -> tuple[int, int]:
    """Height and width of what `decode_array` reads, turned upright, from the header alone.

    Raises:
        ValueError, ModuleNotFoundError: As of `decode_array`.
    """
    file.seek(0)
    if file.read(len(NPY)) == NPY:
        file.seek(0)
        return _npy_shape(file, where)[:2]
    with _open_tiff(file, where) as tiff:
        series = tiff.series[0]
        _channel_axis(series, where)
        sides = dict(zip(series.axes, series.shape, strict=True))
        size = sides["Y"], sides["X"]
        return size[::-1] if _orientation(tiff) >= 5 else size


def import_tifffile(where: str):
    """tifffile, which an extra brings.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        import tifffile
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{where}: a TIFF is read as it is stored, or window by window, with tifffile: "
            "pip install 'maskrcnn-keras[tiff]'"
        ) from error
    return tifffile


def _load_npy(load, where):
    try:
        pixels = load()
    except (ValueError, OSError, EOFError, MemoryError) as error:
        raise ValueError(f"{where}: not an array that can be read: {error}") from error
    _check_shape(pixels.shape, where)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _npy_shape(file, where):
    headers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        shape, *_ = headers[np.lib.format.read_magic(file)](file)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{where}: not an array that can be read: {error}") from error
    _check_shape(shape, where)
    return shape


def _check_shape(shape, where):
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(
            f"{where}: an image must be an array (H, W, channels) or (H, W), this is {shape}"
        )


@contextlib.contextmanager
def _open_tiff(file, where):
    tifffile = import_tifffile(where)
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as tiff:
            yield tiff
    except Exception as error:  # each codec has errors of its own
        if str(error).startswith(f"{where}: "):  # as this module says it
            raise
        raise ValueError(f"{where}: not an image, or a broken one: {error}") from error


def _orientation(tiff):
    return int(tiff.pages[0].tags.valueof(PIL.ExifTags.Base.Orientation, 1))


def _channel_axis(series, where):
    """Which axis of a TIFF's pixels, beside its rows and columns, are the channels, if any."""
    others = [i for i, axis in enumerate(series.axes) if axis not in "YX"]
    if len(others) > 1 or not {"Y", "X"} <= set(series.axes):
        raise ValueError(
            f"{where}: an image must have rows, columns and channels, this has the axes "
            f"{series.axes} {series.shape} {series.dtype}: save one image a file"
        )
    return others[0] if others else None
