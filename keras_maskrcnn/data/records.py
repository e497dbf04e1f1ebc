"""What every annotation format becomes: records of images and the objects in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from keras_maskrcnn.batch import RGB
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.images import decode_image, read_bytes, read_image
from keras_maskrcnn.data.stored import decode_pixels, decode_to_show

Box = tuple[float, float, float, float]
Lost = Literal["image", "annotation"]


@dataclass(frozen=True)
class Instance:
    """One annotated object.

    Args:
        box: xyxy pixels of the upright image, clipped to it.
        class_id: From 0.
        segmentation: Polygons `[[x, y, x, y, ...], ...]` or a COCO RLE in a dict, in pixels of
            the whole image; None if there is no mask.
        crowd: Whether it is a region of many objects: kept out of training, ignored by the
            evaluation.
        area: Pixels of the mask.
        annotation_id: As in the annotation file.
        packed_mask: The mask cut out in its box, M x M bits of `np.packbits`, where it was made
            before; else it is made of the segmentation.
    """

    box: Box
    class_id: int
    segmentation: list[list[float]] | dict[str, Any] | None = None
    crowd: bool = False
    area: float = 0.0
    annotation_id: int | str | None = None
    packed_mask: bytes | None = None


@dataclass(frozen=True)
class Record:
    """One image and what is annotated in it.

    Args:
        image_id: As in the annotation file.
        path: Of the image file.
        height: Of the upright image, in pixels.
        width: Of the upright image, in pixels.
        instances: The objects; none is an image that is all background.
        encoded: The bytes of the image file, where they need not be read from `path`.
    """

    image_id: int | str
    path: str
    height: int
    width: int
    instances: tuple[Instance, ...] = ()
    encoded: bytes | None = None

    def read_image(self) -> np.ndarray:
        """The picture, (H, W, 3) uint8 RGB; errors as of `data.images.read_image`."""
        if self.encoded is None:
            return read_image(self.path)
        return decode_image(self.encoded, self.path)

    def read_pixels(self, config: MaskRCNNConfig) -> np.ndarray:
        """The pixels for a model of a config; as of `data.stored.read_pixels`."""
        if config.is_rgb:
            return self.read_image()
        return decode_pixels(self.read_bytes(), self.path, config)

    def read_to_show(self, config: MaskRCNNConfig = RGB) -> np.ndarray:
        """A picture (H, W, 3) uint8 RGB of any image; as of `data.stored.decode_to_show`."""
        return decode_to_show(self.read_bytes(), self.path, config)

    def read_bytes(self) -> bytes:
        """What is in the image file; a FileNotFoundError if there is none."""
        return read_bytes(self.path) if self.encoded is None else self.encoded


def load_image(record: Record, config: MaskRCNNConfig = RGB) -> np.ndarray:
    """The picture of a record to look at, (H, W, 3) uint8 RGB, whatever its channels.

    Args:
        record: Of the image.
        config: Of the model that takes it; without one, what is no RGB is shown as it seems best.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or has another size than the record.
        ModuleNotFoundError: It is a TIFF that only tifffile reads, which is not installed.
    """
    image = record.read_to_show(config)
    check_size(record, image.shape[:2])
    return image


def load_pixels(record: Record, config: MaskRCNNConfig) -> np.ndarray:
    """The pixels of a record for a model of a config, (H, W, channels).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, has another size than the record, or other pixels than the
            config says.
        ModuleNotFoundError: It is a TIFF to be read as stored, and tifffile is not installed.
    """
    pixels = record.read_pixels(config)
    check_size(record, pixels.shape[:2])
    return pixels


def check_size(record: Record, size: tuple[int, ...]) -> None:
    """Raises a ValueError if a picture has another height and width than its record."""
    if size != (record.height, record.width):
        raise ValueError(
            f"the image is {size[1]}x{size[0]}, its annotation says {record.width}x{record.height}"
        )


@dataclass(frozen=True)
class Problem:
    """Something in a dataset that had to be passed over.

    Args:
        where: The file, and the image or annotation in it.
        what: What is wrong with it.
        lost: What cannot be used for it; None where it was mended.
        annotation_id: Of the object that was mended.
    """

    where: str
    what: str
    lost: Lost | None = None
    annotation_id: int | str | None = None

    def __str__(self) -> str:
        # Errors of files begin with the file already.
        return f"{self.where}: {self.what.removeprefix(f'{self.where}: ')}"


class Contents(NamedTuple):
    """What the reader of a format finds in its files.

    Args:
        records: One an image that there is a file for.
        class_names: The name of each class id.
        problems: What had to be passed over or mended.
        category_ids: The COCO id of each class id; 1, 2, ... if None.
        annotations: Their number, where the records are too many to count them; else None.
    """

    records: Sequence[Record]
    class_names: Sequence[str]
    problems: Sequence[Problem] = ()
    category_ids: Sequence[int] | None = None
    annotations: int | None = None


class AnnotatedImages(Protocol):
    """What the writers of formats and the pipeline need of a dataset; see `Dataset`."""

    source: str
    records: Sequence[Record]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]

    @property
    def problems(self) -> Sequence[Problem]:
        """What had to be passed over or mended."""

    def note(self, where: str, what: str, lost: Lost | None = None) -> None:
        """Adds a problem."""

    def problem_report(self, most: int = 10) -> str:
        """The number of problems and the first of them, a line each."""
