"""Parts of large images to train on, at the scale of the file."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from keras_maskrcnn.batch import RGB
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.masks import pack_mask
from keras_maskrcnn.data.records import Box, Instance, Record, check_size, load_pixels
from keras_maskrcnn.data.windows import open_windows
from keras_maskrcnn.ops.runs import Window

OBJECT_SHARE = (
    0.9  # of the crops that are placed on an object; in the others is what is found there
)
SMALLEST_SIDE = 1.0  # pixels of an object that is kept

MaskIn = Callable[[Instance, Record, Box], np.ndarray | None]


def choose_window(record: Record, crop_size: int, rng: np.random.Generator) -> Window:
    """A square of an image, or as much as there is of one; mostly an object's centre is in it."""
    sides = np.array([record.width, record.height])
    most = np.maximum(sides - crop_size, 0)
    objects = [instance for instance in record.instances if not instance.crowd]
    low, high = np.zeros(2), most
    if objects and rng.random() < OBJECT_SHARE:
        box = np.array(objects[rng.integers(len(objects))].box)
        centre = (box[:2] + box[2:]) / 2
        low, high = np.clip(centre - crop_size, 0, most), np.clip(centre, 0, most)
    left, top = np.round(rng.uniform(low, high)).astype(int).tolist()
    return left, top, min(left + crop_size, record.width), min(top + crop_size, record.height)


def load_window(record: Record, window: Window, config: MaskRCNNConfig = RGB) -> np.ndarray:
    """A part of the pixels of a record for a model of a config; errors as of `load_pixels`."""
    left, top, right, bottom = window
    if record.encoded is not None:
        return load_pixels(record, config)[top:bottom, left:right]
    with open_windows(record.path, config) as picture:
        check_size(record, picture.size)
        return picture.window(window)


def crop_record(record: Record, window: Window, mask_in: MaskIn | None) -> Record:
    """What a window shows of the objects of a record, in pixels of the window; no crowds.

    The box of an object that is cut off becomes the extent of its visible mask. An object of which
    less than a pixel of width or height is left is left out, as is one without a mask.

    Args:
        record: Of the image.
        window: Of the image.
        mask_in: Gives the mask (M, M) uint8 of an object of the record in any box, or None where
            there is none to be had; None in its place leaves the masks out.
    """
    instances = []
    for instance in record.instances:
        box = None if instance.crowd else _clip(instance.box, window)
        mask = None
        if box and mask_in:
            mask = mask_in(instance, record, box)
            if mask is not None and box != instance.box and (box := _extent(mask, box)):
                mask = mask_in(instance, record, box)
        if box and (mask is not None or not mask_in):
            packed = None if mask is None else pack_mask(mask)
            x0, y0, x1, y1 = (b - w for b, w in zip(box, 2 * window[:2], strict=True))
            instances.append(
                replace(instance, box=(x0, y0, x1, y1), segmentation=None, packed_mask=packed)
            )
    left, top, right, bottom = window
    return replace(record, height=bottom - top, width=right - left, instances=tuple(instances))


def _clip(box, window):
    """The part of a box in a window, None if there is less than a pixel of it."""
    x0, y0 = (max(b, w) for b, w in zip(box[:2], window[:2], strict=True))
    x1, y1 = (min(b, w) for b, w in zip(box[2:], window[2:], strict=True))
    return (x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= SMALLEST_SIDE else None


def _extent(mask, box):
    """The part of a box in which its mask (M, M) is, None if there is less than a pixel of it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    width, height = (box[2] - box[0]) / mask.shape[1], (box[3] - box[1]) / mask.shape[0]
    x0, x1 = (float(box[0] + width * end) for end in (columns[0], columns[-1] + 1))
    y0, y1 = (float(box[1] + height * end) for end in (rows[0], rows[-1] + 1))
    return (x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= SMALLEST_SIDE else None
