"""Masks whose colours mean classes and objects, as CVAT's "Segmentation mask 1.1" has them.

`labelmap.txt` has a line a label, `name:red,green,blue:parts:actions`. A colour is one number here,
`red * 65536 + green * 256 + blue`.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import PIL.Image

from keras_maskrcnn.data.formats.shared.text_files import read_text

# No object, and the border that VOC draws around objects.
BLACK, VOID, VOID_NUMBER = 0, 224 << 16 | 224 << 8 | 192, 255
MOST_COLOURS = 2**12  # of the objects in an image: more are those of a photo


class LabelMap(NamedTuple):
    """The labels of a file, and the values 0 (background), 1, 2, ... that stand for them.

    Args:
        names: Of the values 1, 2, ...
        colours: The value of each colour.
        order: The value of each line.
    """

    names: tuple[str, ...]
    colours: dict[int, int]
    order: tuple[int, ...]


def read_labelmap(file: pathlib.Path, palette: Sequence[int]) -> LabelMap:
    """What a `labelmap.txt` holds.

    Args:
        file: The file.
        palette: Colours `[red, green, blue, red, ...]` of the lines that say none.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line of it is broken, or has the colour of another; the message names it.
    """
    names: list[str] = []
    colours, order = {BLACK: 0}, []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            name, colour = _label(line, palette[3 * len(order) :])
            if name.strip("_") == "background":
                value = 0
            elif name in names:
                raise ValueError(f"{name!r} is there already")
            else:
                names.append(name)
                value = len(names)
            if colours.setdefault(colour, value) != value:
                other = ["the background", *names][colours[colour]]
                raise ValueError(f"{name!r} has the colour of {other}")
        except ValueError as error:
            raise ValueError(f"{file}: line {number}: {error}.") from error
        order.append(value)
    return LabelMap(tuple(names), colours, tuple(order))


def class_values(path: pathlib.Path, labels: LabelMap) -> tuple[np.ndarray, list[str]]:
    """The values (H, W) of the labels in the pixels of a PNG, and its colours that are no label's.

    A grey one has the numbers of the lines in its pixels, from 0.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no PNG.
    """
    pixels = _pixels(path)
    keys, inverse = np.unique(pixels, return_inverse=True)
    if pixels.dtype == np.uint32:
        known = {VOID: 0, **labels.colours}
    else:
        known = {VOID_NUMBER: 0, **dict(enumerate(labels.order))}
    unknown = [int(key) for key in keys if int(key) not in known]
    values = np.array([known.get(int(key), 0) for key in keys])
    return values[inverse].reshape(pixels.shape), [_text(key, pixels.dtype) for key in unknown]


def object_numbers(path: pathlib.Path) -> np.ndarray:
    """The numbers (H, W) from 1 of the objects in the pixels of a PNG, a colour an object; else 0.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no PNG, or has too many colours.
    """
    pixels = _pixels(path)
    keys, inverse = np.unique(pixels, return_inverse=True)
    if len(keys) > MOST_COLOURS:
        raise ValueError(f"{os.fspath(path)}: it has {len(keys)} colours: a photo, not a mask")
    void = VOID if pixels.dtype == np.uint32 else VOID_NUMBER
    numbers = np.cumsum((keys != BLACK) & (keys != void))
    numbers[(keys == BLACK) | (keys == void)] = 0
    return numbers[inverse].reshape(pixels.shape)


def _label(line, palette):
    """The name and the colour of a line."""
    name, colour, *_ = [*(line.rsplit(":", 3) if line.count(":") > 3 else line.split(":")), ""]
    if not name.strip():
        raise ValueError(f"it has no name: {line!r:.80}")
    try:
        red, green, blue = map(int, colour.split(",")) if colour.strip() else palette[:3]
    except ValueError:
        red = green = blue = -1
    if not all(0 <= value < 256 for value in (red, green, blue)):
        raise ValueError(f"it must be like name:red,green,blue::, got {line!r:.80}")
    return name.strip(), red << 16 | green << 8 | blue


def _pixels(path):
    """(H, W): colours as uint32, or the numbers of a grey PNG as uint8 or int32."""
    try:
        with PIL.Image.open(path) as picture:
            if picture.format != "PNG":
                raise ValueError(f"it is a {picture.format}: save masks as PNG")
            if picture.mode in ("1", "L", "I", "I;16"):
                return np.array(picture).astype(np.int32)
            parts = np.array(picture.convert("RGB")).astype(np.uint32)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"{os.fspath(path)}: not a mask, or a broken one: {error}") from error
    return parts[..., 0] << 16 | parts[..., 1] << 8 | parts[..., 2]


def _text(key, dtype):
    return f"{key >> 16},{key >> 8 & 255},{key & 255}" if dtype == np.uint32 else str(key)
