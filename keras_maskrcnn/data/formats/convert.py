"""From one annotation format to another."""

import os
import pathlib

from keras_maskrcnn.data.formats import FORMATS
from keras_maskrcnn.data.records import AnnotatedImages

WRITERS = {module.NAME: module.write for module in FORMATS if hasattr(module, "write")}


def convert(
    dataset: AnnotatedImages, target: str, folder: str | os.PathLike, link_images: bool = False
) -> dict[str, int]:
    """Writes a dataset in another format, its images along.

    Args:
        dataset: What to write.
        target: `"coco"` (`annotations.json`, `images/`), `"labelme"` (a JSON file beside each
            image), `"via"` (`via_region_data.json` beside the images), `"voc"` (`JPEGImages/`,
            `SegmentationObject/`, `SegmentationClass/`, `ImageSets/`, `class_names.txt`),
            `"yolo"` (`data.yaml`, `images/`, `labels/`), `"cvat"` (`annotations.xml`, `images/`),
            `"mask-png"` (`images/`, `masks/`) or `"tfrecord"` (see `write_tfrecords`).
        folder: New or empty.
        link_images: Whether symbolic links to the images are made instead of copies.

    Returns:
        What the format cannot hold, in words, and how many of it there are.

    Raises:
        ValueError: There is no such format, the folder is in use, or TFRecords are to link.

    Example:
        >>> convert(km.data.shapes.generate("shapes", 4), "mask-png", "masks/")
        {'objects that lose their class': 20}
    """
    if target not in WRITERS:
        raise ValueError(f"No format {target!r}; there are {', '.join(sorted(WRITERS))}.")
    folder = pathlib.Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and not empty: choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return dict(WRITERS[target](dataset, folder, link_images))
