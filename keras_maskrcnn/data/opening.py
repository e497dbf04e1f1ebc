"""Opening a dataset by its path: what is there says which format it is."""

import os
import pathlib
from collections.abc import Sequence

from keras_maskrcnn.data.dataset import Dataset
from keras_maskrcnn.data.formats import FORMATS, tfrecord, via
from keras_maskrcnn.data.formats.shared.json_files import read_json
from keras_maskrcnn.data.tfrecord_dataset import TFRecordDataset

EXPECTED = "\n".join(f"  {module.NAME}: {module.LAYOUT}" for module in FORMATS)


def open_dataset(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
    class_attribute: str | None = None,
) -> Dataset:
    """A dataset of any format: each of `data.formats.FORMATS` is asked in turn if it knows it.

    Args:
        path: A COCO, VIA or CVAT file, a YOLO `data.yaml`, a VOC split, or a folder of any format.
            A folder of mask PNGs needs `images`, if it is not called `masks`.
        images: Folder of the images. If None, for a COCO file `images/` beside it or its own
            folder, for the others where the format says.
        class_names: The classes to keep, in the order of their class ids; all if None.
        class_attribute: Of a VIA file, the region attribute that holds the class; "*" if the class
            is the attribute's own name.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It is of no known format, or broken; or `class_attribute` is given and it is not
            VIA's.

    Example:
        >>> dataset = open_dataset("annotated/")
        >>> len(dataset), dataset.class_names
        (4, ('cross', 'ring', 'star'))
    """
    path = pathlib.Path(path)
    images = None if images is None else pathlib.Path(images)
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {path}: expected one of\n{EXPECTED}")
    for module in FORMATS:
        source = module.recognise(path, images)
        if source is not None:
            return _open(module, source, images, class_names, class_attribute)
    if path.suffix == ".json" and path.is_file():
        read_json(path)  # which says so if it is none
    raise ValueError(f"{path} is of no known format: expected one of\n{EXPECTED}")


def _open(module, source, images, class_names, class_attribute):
    if module is via:
        return Dataset.from_via(source, images, class_names, class_attribute)
    if class_attribute is not None:
        raise ValueError(
            f"{source}: class_attribute={class_attribute!r} names an attribute of VIA's regions, "
            f"but the format is {module.NAME}: leave it out."
        )
    contents = module.read(source, images, class_names)
    return TFRecordDataset(source) if module is tfrecord else Dataset(source, contents)
