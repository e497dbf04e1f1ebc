"""Opening a dataset by its path: what is there says which format it is."""

import os
import pathlib
from collections.abc import Sequence

from keras_maskrcnn.data.dataset import Dataset
from keras_maskrcnn.data.formats.coco import CocoDataset
from keras_maskrcnn.data.formats.tfrecord import INDEX, TFRecordDataset
from keras_maskrcnn.data.formats.via import FILE_NAME as VIA_FILE

EXPECTED = (
    "a COCO or VIA file (.json), a VOC split (ImageSets/Segmentation/*.txt), or a folder: of "
    "LabelMe's JSON files, of JPEGImages and SegmentationObject, of images and masks, of "
    f"annotations.json and images, of {VIA_FILE} and its images, or of TFRecords and {INDEX}"
)


def open_dataset(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
    class_attribute: str | None = None,
) -> Dataset:
    """A dataset of any format.

    Args:
        path: A COCO or VIA file, a VOC split, or a folder of any format. A folder of mask PNGs
            needs `images`.
        images: Folder of the images. If None, for a COCO file `images/` beside it or its own
            folder, for the others where the format says.
        class_names: The classes to keep, in the order of their class ids; all if None.
        class_attribute: Of a VIA file, the region attribute that holds the class.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It is of no known format, or broken.

    Example:
        >>> len(open_dataset("VOC2012/ImageSets/Segmentation/val.txt"))
        1449
    """
    path = pathlib.Path(path)
    images = None if images is None else pathlib.Path(images)
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {path}: expected {EXPECTED}.")
    if path.is_dir():
        return _open_folder(path, images, class_names, class_attribute)
    if path.suffix == ".txt" and path.parts[-3:-1] == ("ImageSets", "Segmentation"):
        return Dataset.from_voc(path.parents[2], path.stem, class_names)
    if path.suffix != ".json":
        raise ValueError(f"{path} is of no known format: expected {EXPECTED}.")
    if _is_via(path):
        return Dataset.from_via(path, images, class_names, class_attribute)
    beside = path.parent / "images"
    return CocoDataset(path, images or (beside if beside.is_dir() else path.parent), class_names)


def _open_folder(path, images, class_names, class_attribute):
    if (path / "SegmentationObject").is_dir():
        return Dataset.from_voc(path, None, class_names)
    if (path / INDEX).is_file():
        return _open_tfrecords(path, class_names)
    for file in (path / "annotations.json", path / VIA_FILE):
        if file.is_file():
            return open_dataset(file, images, class_names, class_attribute)
    if images is None and (path / "masks").is_dir():
        return _open_masks(path / "images", path / "masks", class_names)
    if images is not None:
        return _open_masks(images, path, class_names)
    if any(path.glob("*.json")):
        return Dataset.from_labelme(path, class_names)
    raise ValueError(f"Folder {path} is of no known format: expected {EXPECTED}.")


def _open_masks(images, masks, class_names):
    if class_names is None:
        return Dataset.from_mask_pngs(images, masks)
    if len(class_names) != 1:
        raise ValueError(
            f"{masks}: mask PNGs know one class, but {len(class_names)} are expected: "
            f"{', '.join(class_names)}."
        )
    return Dataset.from_mask_pngs(images, masks, class_names[0])


def _open_tfrecords(path, class_names):
    dataset = TFRecordDataset(path)
    if class_names is not None and tuple(class_names) != dataset.class_names:
        raise ValueError(
            f"{path}: its classes are {', '.join(dataset.class_names)}, expected are "
            f"{', '.join(class_names)}: TFRecords keep the classes that they were written with."
        )
    return dataset


def _is_via(path):
    """Whether the file begins as VIA's do: COCO's can be too large to be read twice."""
    with path.open("rb") as file:
        start = file.read(2**16)
    return any(mark in start for mark in (b'"_via_', b'"regions"', b'"fileref"'))
