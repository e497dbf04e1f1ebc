"""What the headers of image files say, read within a graph by stock operations."""

import functools
from collections.abc import Callable

import tensorflow as tf

ORIENTATION_TAG = 0x0112
BYTES_PER_ENTRY = 12
APP1, START_OF_SCAN, FILLER = 0xFFE1, 0xFFDA, 0xFFFF
START_OF_IMAGE, END_OF_IMAGE = 0xFFD8, 0xFFD9
NO_FRAMES = (0xFFC4, 0xFFC8, 0xFFCC)  # among 0xFFC0 to 0xFFCF, which start a frame
# More than stand before the pixels of a real file, whose photos of depth may take hundreds; a
# made-up file could have millions.
MOST_SEGMENTS = 2000


def exif_orientation(data: tf.Tensor) -> tf.Tensor:
    """How the stored pixels of an image file lie.

    Args:
        data: (N,) uint8, the bytes of the file, one at least.

    Returns:
        1 to 8, scalar int64, as the EXIF block before the pixels of a JPEG or PNG says; 1 where
        there is none, or a broken one, and in files of other formats.

    Example:
        >>> data = tf.io.decode_raw(tf.io.read_file("photo.jpg"), tf.uint8)
        >>> int(exif_orientation(data))
        1
    """
    tiff = tf.minimum(_exif_in_jpeg(data), _exif_in_png(data))
    read = functools.partial(_integer, data, little_endian=_integer(data, tiff, 2) == _code(b"II"))
    directory = tiff + read(tiff + 4, 4)
    entries = directory + 2 + BYTES_PER_ENTRY * tf.range(read(directory, 2))
    is_whole = entries + BYTES_PER_ENTRY <= _size(data)
    is_orientation = is_whole & (read(tiff + 2, 2) == 42) & (read(entries, 2) == ORIENTATION_TAG)
    found = tf.boolean_mask(read(entries + 8, 2), is_orientation)
    orientation = tf.concat([found, [1]], axis=0)[0]
    return tf.where((orientation >= 1) & (orientation <= 8), orientation, 1)


def has_pixels(data: tf.Tensor) -> tf.Tensor:
    """Whether the header of a JPEG or PNG tells a width and a height; True of other formats.

    Args:
        data: (N,) uint8, the bytes of the file, one at least.
    """
    frame = _find_in_jpeg(data, lambda position: _is_frame(_integer(data, position, 2)))
    sides = (_integer(data, frame + 5, 2) > 0) & (_integer(data, frame + 7, 2) > 0)
    jpeg = (frame < _size(data)) & sides
    png = (_integer(data, _at(16), 4) > 0) & (_integer(data, _at(20), 4) > 0)
    png &= _integer(data, _at(12), 4) == _code(b"IHDR")
    return tf.where(_is_jpeg(data), jpeg, png | ~_is_png(data))


def is_cut_off(data: tf.Tensor) -> tf.Tensor:
    """Whether a JPEG or PNG lacks its end, whatever follows it; False of other formats.

    Phones append a video or another picture; the end markers of thumbnails lie within segments.

    Args:
        data: (N,) uint8, the bytes of the file, one at least.
    """
    is_png = _is_png(data)
    return tf.cond(
        _is_jpeg(data), lambda: _lacks_jpeg_end(data), lambda: is_png & ~_has_png_end(data)
    )


def bits_per_pixel(data: tf.Tensor) -> tf.Tensor:
    """Of a BMP file, scalar int64.

    Args:
        data: (N,) uint8, the bytes of the file, one at least.
    """
    return _integer(data, _at(28), 2, little_endian=True)


def _exif_in_jpeg(data):
    """Where the TIFF header starts, at the end of the file if there is none."""

    def is_exif(position):
        is_named = _integer(data, position + 4, 6) == _code(b"Exif\0\0")
        return is_named & (_integer(data, position, 2) == APP1)

    return _find_in_jpeg(data, is_exif) + 10


def _find_in_jpeg(data, is_wanted):
    """Where the first such segment starts, at the end of the file if there is none.

    A JPEG is a list of segments: two bytes of marker, two of length, which they count in.
    """

    def goes_on(position):
        marker = _integer(data, position, 2)
        is_segment = (marker >= 0xFF00) & (marker != START_OF_SCAN)
        return is_segment & ~is_wanted(position)

    def following(position):
        is_segment = _integer(data, position, 2) != FILLER
        return position + tf.where(is_segment, 2 + _integer(data, position + 2, 2), 1)

    position = _walk(data, goes_on, following, tf.where(_is_jpeg(data), _at(2), _size(data)))
    return tf.where(is_wanted(position), position, _size(data))


def _lacks_jpeg_end(data):
    """As `keras_maskrcnn.data.images`; not told of a file of more segments than are walked."""
    places = tf.where(data == 0xFF)[:, 0]
    codes = _integer(data, places, 2)
    is_restart = (codes >= 0xFFD0) & (codes <= 0xFFD7)
    is_marker = (codes >= 0xFFC0) & (codes != FILLER) & ~is_restart
    markers = tf.concat([tf.boolean_mask(places, is_marker), [_size(data)]], axis=0)

    def goes_on(position):
        marker = _integer(data, position, 2)
        return (marker != START_OF_IMAGE) & (marker != END_OF_IMAGE)

    def following(position):
        end = position + 2 + _integer(data, position + 2, 2)
        return markers[tf.searchsorted(markers[:-1], end[None])[0]]

    end = _walk(data, goes_on, following, markers[tf.minimum(1, tf.size(markers) - 1)])
    return (end == _size(data)) | (_integer(data, end, 2) == START_OF_IMAGE)


def _has_png_end(data):
    places = tf.where(data == ord("I"))[:, 0]
    return tf.reduce_any(_integer(data, places, 4) == _code(b"IEND"))


def _is_frame(marker):
    is_other = tf.reduce_any(marker == tf.constant(NO_FRAMES, tf.int64))
    return (marker >= 0xFFC0) & (marker <= 0xFFCF) & ~is_other


def _exif_in_png(data):
    """The same. A PNG is a list of chunks: length, type, as many bytes, and a checksum."""

    def kind(position):
        return _integer(data, position + 4, 4)

    def goes_on(position):
        return (kind(position) != _code(b"eXIf")) & (kind(position) != _code(b"IDAT"))

    def following(position):
        return position + 12 + _integer(data, position, 4)

    position = _walk(data, goes_on, following, tf.where(_is_png(data), _at(8), _size(data)))
    return tf.where(kind(position) == _code(b"eXIf"), position + 8, _size(data))


def _walk(data, goes_on: Callable, following: Callable, start):
    (position,) = tf.while_loop(
        lambda position: (position < _size(data)) & goes_on(position),
        lambda position: [following(position)],
        [start],
        maximum_iterations=MOST_SEGMENTS,
    )
    return position


def _is_jpeg(data):
    return _integer(data, _at(0), 2) == _code(b"\xff\xd8")


def _is_png(data):
    return _integer(data, _at(0), 4) == _code(b"\x89PNG")


def _integer(data, position, count, little_endian=False):
    """The unsigned number in `count` bytes from each of `position` on, int64.

    The last byte stands for those behind the end, so that a broken file is no error here.
    """
    indices = position[..., None] + tf.range(count, dtype=tf.int64)
    digits = tf.cast(tf.gather(data, tf.minimum(indices, _size(data) - 1)), tf.int64)
    weights = tf.constant([256**i for i in range(count)], tf.int64)
    big_endian = tf.constant([256**i for i in reversed(range(count))], tf.int64)
    return tf.reduce_sum(digits * tf.where(little_endian, weights, big_endian), axis=-1)


def _at(position):
    return tf.constant(position, tf.int64)


def _code(text):
    return int.from_bytes(text, "big")


def _size(data):
    return tf.size(data, tf.int64)
