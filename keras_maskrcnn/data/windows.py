"""Parts of large images, read without the rest of the file where its format allows it."""

import collections
import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from keras_maskrcnn.batch import RGB
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.arrays import import_tifffile, open_npy
from keras_maskrcnn.data.stored import as_part, read_pixels
from keras_maskrcnn.ops.runs import Window

TIFF_ENDINGS = (".tif", ".tiff", ".btf", ".svs", ".ndpi", ".scn")
LEAST_CACHE = 64 * 2**20  # bytes of decoded tiles and strips


class WindowedImage(Protocol):
    """An image of which parts can be had."""

    size: tuple[int, int]  # height and width

    def window(self, window: Window) -> np.ndarray:
        """The pixels (bottom - top, right - left, C) of a window, which lies in the image."""


class WholeImage:
    """An image (H, W, C) that is in memory, or a `numpy.memmap`."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels
        self.size = pixels.shape[:2]

    def window(self, window: Window) -> np.ndarray:
        left, top, right, bottom = window
        return np.ascontiguousarray(self.pixels[top:bottom, left:right])


class StoredWindows:
    """Windows as a model of a config takes them, of an image whose pixels are as stored."""

    def __init__(self, stored: WindowedImage, where: str, config: MaskRCNNConfig):
        self.size = stored.size
        self._stored = stored
        self._where = where
        self._config = config

    def window(self, window: Window) -> np.ndarray:
        return as_part(self._stored.window(window), self._where, self._config)


@contextlib.contextmanager
def open_windows(path: str | os.PathLike, config: MaskRCNNConfig = RGB) -> Iterator[WindowedImage]:
    """An image file whose windows are as those of `read_pixels`, for a model of a config.

    Of a TIFF only the tiles or strips that a window touches are read; of a pyramid, those of its
    largest level. Of a `.npy` for other pixels than RGB 0..255 only the window is read. Other
    formats are read whole, and so are TIFFs of planes and pages, and for RGB those of palettes and
    floats.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is broken, or no picture.
        ModuleNotFoundError: It is a TIFF, and tifffile is not installed.

    Example:
        >>> import tifffile
        >>> tifffile.imwrite("field.tif", np.zeros((2000, 3000, 3), np.uint8), tile=(256, 256))
        >>> with open_windows("field.tif") as picture:
        ...     picture.window((1000, 0, 2024, 1024)).shape
        (1024, 1024, 3)
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no image file {os.fspath(path)}.")
    name = os.fspath(path).lower()
    if name.endswith(TIFF_ENDINGS):
        with _open_tiff_windows(path, config) as windows:
            yield windows or WholeImage(read_pixels(path, config))
    elif name.endswith(".npy") and not config.is_rgb:
        yield StoredWindows(WholeImage(open_npy(path)), os.fspath(path), config)
    else:
        yield WholeImage(read_pixels(path, config))


@contextlib.contextmanager
def _open_tiff_windows(path, config):
    """The windows of a TIFF, None where it has to be read whole."""
    tifffile = import_tifffile(os.fspath(path))
    with open(path, "rb") as file:
        try:
            tiff = tifffile.TiffFile(file)
            windows = _windows_of(tifffile, tiff, path, config)
        except (tifffile.TiffFileError, IndexError) as error:
            raise ValueError(
                f"{os.fspath(path)}: not an image, or a broken one: {error}"
            ) from error
        yield windows


def _windows_of(tifffile, tiff, path, config):
    page = tiff.pages[0]
    if not _is_upright(page):
        return None
    if config.is_rgb and _is_like_rgb(tifffile, page):
        convert = functools.partial(_as_rgb, has_alpha=_has_alpha(page))
        return TiffWindows(path, page, 3, np.uint8, convert)
    if config.is_rgb or not _has_samples(tifffile, tiff, config):
        return None
    stored = TiffWindows(path, page, page.samplesperpixel, page.dtype, np.ascontiguousarray)
    return StoredWindows(stored, os.fspath(path), config)


def _is_upright(page):
    orientation = page.tags.get("Orientation")
    return page.imagedepth == 1 and (orientation is None or orientation.value == 1)


def _has_samples(tifffile, tiff, config):
    """Whether all channels lie beside each other in the first page, as they are to be read."""
    page = tiff.pages[0]
    contiguous = page.samplesperpixel == 1 or page.planarconfig == tifffile.PLANARCONFIG.CONTIG
    coded = page.compression == tifffile.COMPRESSION.JPEG or page.dtype is None
    is_all = page.shape == tiff.series[0].shape and page.samplesperpixel == config.channels
    return contiguous and not coded and is_all


def _is_like_rgb(tifffile, page):
    """Whether its samples are what `read_image` gives, but for their number and their bits."""
    grey_or_rgb = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
    jpeg = page.compression == tifffile.COMPRESSION.JPEG
    return (
        (grey_or_rgb or (jpeg and page.photometric == tifffile.PHOTOMETRIC.YCBCR))
        and (page.dtype, page.bitspersample) in ((np.uint8, 8), (np.uint16, 16))
        and page.samplesperpixel in (1, 3, 4)
        and (page.samplesperpixel == 1 or page.planarconfig == tifffile.PLANARCONFIG.CONTIG)
        and not (_has_alpha(page) and page.dtype == np.uint16)
    )


def _has_alpha(page):
    """Whether the colours are still to be multiplied by an alpha channel."""
    unassociated = 2
    return unassociated in page.extrasamples


class TiffWindows:
    """Windows of a page of a TIFF.

    The tiles or strips that were asked for last are kept decoded, for the next window touches some
    of them: of strips all, where it lies beside this one.

    Args:
        path: Of the file, for errors.
        page: tifffile's.
        channels: C, of the pixels.
        dtype: Of the pixels.
        convert: From the samples (h, w, s) of a tile or strip to its pixels (h, w, C).
    """

    def __init__(
        self,
        path: str | os.PathLike,
        page,
        channels: int,
        dtype: type[np.generic] | np.dtype,
        convert: Callable[[np.ndarray], np.ndarray],
    ):
        self.path = path
        self.channels = channels
        self.dtype = np.dtype(dtype)
        self._convert = convert
        self.size = page.imagelength, page.imagewidth
        self._page = page
        strip = min(page.rowsperstrip, page.imagelength), page.imagewidth
        self._segment_size = (page.tilelength, page.tilewidth) if page.is_tiled else strip
        self._decoded: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()

    def window(self, window: Window) -> np.ndarray:
        left, top, right, bottom = window
        pixels = np.zeros((bottom - top, right - left, self.channels), self.dtype)
        high, wide = self._segment_size
        columns = -(-self.size[1] // wide)
        touched = [
            (row, column)
            for row in range(top // high, -(-bottom // high))
            for column in range(left // wide, -(-right // wide))
        ]
        self._forget(2 * len(touched))
        for row, column in touched:
            segment = self._segment(row * columns + column)
            if segment is None:
                continue
            y, x = row * high, column * wide
            y0, y1 = max(y, top), min(y + segment.shape[0], bottom)
            x0, x1 = max(x, left), min(x + segment.shape[1], right)
            seen = segment[y0 - y : y1 - y, x0 - x : x1 - x]
            pixels[y0 - top : y1 - top, x0 - left : x1 - left] = seen
        return pixels

    def _forget(self, most):
        """Forgets the segments that were asked for longest ago."""
        high, wide = self._segment_size
        size = high * wide * self.channels * self.dtype.itemsize
        while len(self._decoded) > max(most, LEAST_CACHE // size):
            self._decoded.popitem(last=False)

    def _segment(self, index):
        """The pixels of a tile or strip (h, w, C), or None where the file leaves it out."""
        if index in self._decoded:
            self._decoded.move_to_end(index)
            return self._decoded[index]
        offset, count = self._page.dataoffsets[index], self._page.databytecounts[index]
        if count == 0:
            return None
        try:
            handle = self._page.parent.filehandle
            handle.seek(offset)
            data = handle.read(count)
            if len(data) < count:
                raise ValueError("the file is cut off")
            decoded = self._page.decode(data, index, jpegtables=self._page.jpegtables)[0]
        except Exception as error:  # each codec has errors of its own
            raise ValueError(
                f"{os.fspath(self.path)}: part {index} of the image cannot be decoded: {error}"
            ) from error
        self._decoded[index] = segment = self._convert(decoded[0])
        return segment


def _as_rgb(samples, has_alpha):
    """Samples (h, w, s) as `read_image`, that is libtiff, gives them."""
    grey = samples.shape[2] == 1
    if samples.dtype == np.uint16:
        samples = samples // 256 if grey else (samples.astype(np.uint32) + 128) // 257
    elif has_alpha:
        samples = (samples[..., :3].astype(np.uint16) * samples[..., 3:] + 127) // 255
    samples = np.repeat(samples, 3, axis=2) if grey else samples[..., :3]
    return np.ascontiguousarray(samples, np.uint8)
