"""Image files: reading them upright, as RGB, and resizing them."""

import io
import os
import pathlib
import re

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.TiffImagePlugin

from keras_maskrcnn.data.arrays import NPY, array_size, decode_array, is_array_file

JPEG = b"\xff\xd8"
# A JPEG is a list of segments, each with a marker, a length and its content; pixels follow segments
# of START_OF_SCAN. Among the pixels FF stands before 00 or a restart marker, D0 to D7, only.
JPEG_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
START_OF_IMAGE, END_OF_IMAGE = 0xD8, 0xD9
# A PNG is a list of chunks from here on, each with a length, a name, its content and a checksum.
PNG_CHUNKS = 8


def read_image(path: str | os.PathLike) -> np.ndarray:
    """The picture in a file, (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Grey pictures are repeated over the channels, 16 bits are scaled to 8, alpha is dropped. A
    `.npy` file holds uint8 RGB or grey.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is empty, cut off, or no picture.

    Example:
        >>> read_image("photo.jpg").shape
        (480, 640, 3)
    """
    return decode_image(read_bytes(path), os.fspath(path))


def read_bytes(path: str | os.PathLike) -> bytes:
    """What is in an image file.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no image file {os.fspath(path)}.")
    return pathlib.Path(path).read_bytes()


def decode_image(data: bytes, where: str) -> np.ndarray:
    """The picture in the bytes of an image file, as `read_image` gives it.

    Args:
        data: What is in the file.
        where: What errors call it.

    Raises:
        ValueError: There are no bytes, or they are cut off or no picture.

    Example:
        >>> decode_image(pathlib.Path("photo.jpg").read_bytes(), "photo.jpg").shape
        (480, 640, 3)
    """
    if data.startswith(NPY):
        return _array_as_rgb(decode_array(data, where)[0], where)
    image = _decode(data, where, cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _array_as_rgb(pixels, where):
    if pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
        raise ValueError(
            f"{where}: {pixels.shape} {pixels.dtype} is not RGB or grey of uint8: the model's "
            "config says what else it takes, channels and pixel_range."
        )
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def decode_unchanged(data: bytes, where: str) -> np.ndarray:
    """The picture in the bytes of an image file, turned upright: (H, W, C), nothing else changed.

    Grey has one channel, alpha is the last of four, and bits are as many as there are.

    Raises:
        ValueError: As of `decode_image`.
    """
    image = np.atleast_3d(_decode(data, where, cv2.IMREAD_UNCHANGED))
    if image.shape[2] > 1:  # of BGR or BGRA
        image = image[..., [2, 1, 0, 3][: image.shape[2]]]
    try:
        with PIL.Image.open(io.BytesIO(data)) as picture:
            orientation = _orientation(picture)
    except PIL.UnidentifiedImageError:  # a format that has none
        orientation = 1
    return np.ascontiguousarray(turn_upright(image, orientation))


def is_grey_or_rgb(data: bytes) -> bool:
    """Whether `decode_image` could read the image, as far as its header says: of 8 or 16 bits."""
    if not is_array_file(data):
        return True
    try:
        with PIL.Image.open(io.BytesIO(data)) as picture:
            return picture.mode not in ("I", "F")
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError):
        return False


def _decode(data, where, how):
    if not data:
        raise ValueError(f"{where}: the image file is empty.")
    # OpenCV fills what is missing of a JPEG with grey and says nothing of it.
    if data[:2] == JPEG and not _has_jpeg_end(data):
        raise ValueError(f"{where}: the JPEG file is truncated; it lacks its end marker.")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as error:
        raise ValueError(f"{where}: not a readable image: {error.err}.") from error
    if image is None:
        further = " Of other channels than grey and RGB a model takes those of its config."
        raise ValueError(
            f"{where}: not an image, or one that is truncated or broken."
            + further * is_array_file(data)
        )
    return image


def _has_jpeg_end(data):
    """Whether the picture ends, whatever follows it: phones append a video or another picture.

    The end markers of thumbnails lie within segments, and so are none of the picture's own.
    """
    position = len(JPEG)
    while match := JPEG_MARKER.search(data, position):
        marker, position = data[match.start() + 1], match.end()
        if marker in (START_OF_IMAGE, END_OF_IMAGE):
            return marker == END_OF_IMAGE
        position += int.from_bytes(data[position : position + 2], "big")
    return False


def exif_orientation(data: bytes, image: np.ndarray) -> int:
    """The EXIF orientation, 1 to 8, that `decode_image` followed: how the stored pixels lie.

    It is 1 of what that cannot read.

    Args:
        data: The bytes of the image file.
        image: What `decode_image` made of them.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    if not is_grey_or_rgb(data):
        return 1
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), flags)[:, :, ::-1]
    for orientation in range(1, 9):
        if np.array_equal(turn_upright(stored, orientation), image):
            return orientation
    return 1


def turn_upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (H, W, C), turned as an EXIF orientation of 1 to 8 says."""
    image = stored.swapaxes(0, 1) if orientation >= 5 else stored
    image = image[:, ::-1] if orientation in (2, 3, 6, 7) else image
    return image[::-1] if orientation in (3, 4, 7, 8) else image


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Height and width of a picture as `read_image` gives it, from the file's header alone.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no picture.
    """
    with open(path, "rb") as file:
        return _header_size(file, os.fspath(path))


def encoded_image_size(data: bytes, where: str) -> tuple[int, int]:
    """Height and width of a picture as `decode_image` gives it, from the file's header alone.

    Raises:
        ValueError: It is no picture.
    """
    return _header_size(io.BytesIO(data), where)


def _header_size(file, where):
    try:
        with PIL.Image.open(file) as picture:
            width, height = _stored_size(picture)
            turned = _orientation(picture) >= 5
    except PIL.UnidentifiedImageError as error:  # whose text is the file's name again
        file.seek(0)
        if is_array_file(file.read(8)):
            return array_size(file, where)
        raise ValueError(f"{where}: not an image, or a broken one.") from error
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"{where}: not an image, or a broken one: {error}") from error
    return (width, height) if turned else (height, width)


def _orientation(picture):
    """The EXIF orientation, 1 to 8, that OpenCV follows.

    Of a PNG without any Pillow would decode all pixels to see, and take that of a text.
    """
    if picture.format == "PNG" and not _has_exif(picture.fp):
        return 1
    return picture.getexif().get(PIL.ExifTags.Base.Orientation, 1)


def _has_exif(png):
    """Whether a PNG has a chunk of EXIF data; the file is left where it was."""
    position = png.tell()
    png.seek(PNG_CHUNKS)
    try:
        while len(head := png.read(8)) == 8:
            if head[4:] == b"eXIf":
                return True
            png.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
        return False
    finally:
        png.seek(position)


def _stored_size(picture):
    """Width and height before the picture is turned: of a TIFF, Pillow gives those after it."""
    tiff = PIL.TiffImagePlugin
    if isinstance(picture, tiff.TiffImageFile):
        return picture.tag_v2[tiff.IMAGEWIDTH], picture.tag_v2[tiff.IMAGELENGTH]
    return picture.size


def read_numbers(path: str | os.PathLike) -> np.ndarray:
    """The pixels of a PNG that numbers objects or classes: (H, W) integers.

    Of a picture with a palette they are the palette's indices.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is broken, or has colours instead of numbers.
    """
    try:
        with PIL.Image.open(path) as picture:
            numbers = np.array(picture)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"{os.fspath(path)}: not an image, or a broken one: {error}") from error
    if numbers.ndim != 2 or numbers.dtype.kind not in "bui":
        raise ValueError(
            f"{os.fspath(path)}: expected one number a pixel (grey or with a palette), got "
            f"{'x'.join(map(str, numbers.shape))} {numbers.dtype}"
        )
    return numbers.astype(np.uint8) if numbers.dtype == bool else numbers


def resized_shape(
    height: int, width: int, min_size: int, max_size: int, style: str = "detectron2"
) -> tuple[int, int]:
    """Height and width after resizing: the short side `min_size`, but no side above `max_size`.

    Sides are rounded to the nearest pixel in the style `"detectron2"`, down in `"torchvision"`.

    Example:
        >>> resized_shape(480, 640, 800, 1333)
        (800, 1067)
    """
    scale = min_size / min(height, width)
    if scale * max(height, width) > max_size:
        scale = max_size / max(height, width)
    half = 0.0 if style == "torchvision" else 0.5
    return max(1, int(height * scale + half)), max(1, int(width * scale + half))


def resize_image(
    image: np.ndarray, shape: tuple[int, int], style: str = "detectron2"
) -> np.ndarray:
    """An image (H, W, C) of any dtype at the height and width of `shape`.

    Bilinear where it grows. Where it shrinks, the mean of the pixels that fall into one in the
    style `"detectron2"`, which smooths too; still bilinear in the style `"torchvision"`.
    """
    height, width = shape
    if image.shape[:2] == (height, width):
        return image
    smooth = height < image.shape[0] and style != "torchvision"
    method = cv2.INTER_AREA if smooth else cv2.INTER_LINEAR
    # OpenCV takes the mean of up to four channels; what has three is resized as RGB is.
    resized = [
        np.atleast_3d(cv2.resize(image[..., i : i + 3], (width, height), interpolation=method))
        for i in range(0, image.shape[2], 3)
    ]
    return resized[0] if len(resized) == 1 else np.concatenate(resized, axis=2)
